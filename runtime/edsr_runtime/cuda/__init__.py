"""What runs an engine on an NVIDIA GPU: memory, streams, workers, and the little that is computed besides."""
