"""Jobs that survive: what has become of every picture is kept in a journal, and a run goes on where another ended."""
