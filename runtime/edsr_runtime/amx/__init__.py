"""EDSR and MDSR on the matrix units (AMX) of a CPU, with kernels of our own."""
