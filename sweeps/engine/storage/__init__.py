"""What is kept of a sweep and of each trial: layout, records, checkpoints and lease."""
