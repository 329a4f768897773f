"""What an engine in FP16 may differ by from its network in FP32: less than a step of the result."""

LARGEST, RMS = 0.5, 0.05
"""Grey levels of 0..255, before rounding."""
PSNR_LOSS_DB = 0.01
