"""Mathematics of training: objectives, optimisers and random draws."""
