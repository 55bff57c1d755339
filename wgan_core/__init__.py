"""What one WGAN trial is: networks, objectives, the training step, data, held-out metrics, checkpoints."""
