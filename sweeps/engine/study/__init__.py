"""Search: one Optuna study in a persistent storage, which hands out trials and stores their reports."""
