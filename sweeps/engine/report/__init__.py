"""A sweep's report: one page that needs nothing else, a table of its trials, and what its winner was trained with."""
