"""The networks of the field beside ours: after equal training, and how long they take."""
