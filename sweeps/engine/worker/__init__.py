"""The process that trains a cohort of trials."""
