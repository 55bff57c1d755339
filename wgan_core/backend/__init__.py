"""Training on a device: kernels, CUDA graphs, precision, memory and ranks."""
