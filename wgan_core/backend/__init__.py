"""How a device carries training out: kernels, graphs, precision, memory and ranks."""
