"""Held-out metrics that compare across trials, and the objectives that a sweep may take from them."""
