"""Loading and sampling of a trained generator."""
