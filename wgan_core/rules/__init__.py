"""Mathematics of training: losses, optimisers and random draws."""
