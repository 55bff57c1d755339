"""Sweeps over WGAN hyper-parameters: what a person runs, and the engine below."""
