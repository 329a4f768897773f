"""How long it takes: one picture at a time, and many."""
