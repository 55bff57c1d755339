"""A trained generator on its own: load it and sample from it."""
