"""Joins wgan_core to Ray Tune, Optuna and MLflow; nothing else does."""
