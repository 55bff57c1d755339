"""Output for people and programs while a sweep runs."""
