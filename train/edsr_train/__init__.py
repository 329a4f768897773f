"""Train super-resolution networks, to checkpoints that carry their configuration."""
