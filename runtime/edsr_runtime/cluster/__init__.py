"""One job on several machines."""
