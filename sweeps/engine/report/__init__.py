"""A sweep's report: a self-contained page, a table of its trials, and the configuration of its winner."""
