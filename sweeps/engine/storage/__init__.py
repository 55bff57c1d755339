"""Files of a sweep and its trials: layout, records, checkpoints and lease."""
