"""Commands of `sweeps`, one module each with `add_options` and `run`. `sweeps.cli` combines them."""
