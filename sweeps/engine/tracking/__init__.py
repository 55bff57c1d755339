"""MLflow: upload of a sweep's records, queries, model registry and local server."""
