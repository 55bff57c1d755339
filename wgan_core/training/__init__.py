"""Train a cohort of trials: ticks, updates, state, batches, samples and checkpoints."""
