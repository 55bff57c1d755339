"""Networks over lanes: a module per lane, layers, conditioning and the shipped pairs."""
