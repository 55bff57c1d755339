"""Held-out metrics that compare across trials, and the choice of a sweep's objective among them."""
