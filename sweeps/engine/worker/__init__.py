"""Process that trains a cohort of trials."""
