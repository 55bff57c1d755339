"""What MLflow is told of a sweep, and what it is asked."""
