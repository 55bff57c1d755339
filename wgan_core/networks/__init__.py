"""Networks over lanes, their layers and label conditioning, and the shipped pairs of critic and generator."""
