"""The search: one Optuna study over a persistent storage, asked and told by whoever trains."""
