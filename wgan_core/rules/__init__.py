"""The mathematics alone: objectives, optimisers and random draws."""
