"""What a sweep runs on: a Ray cluster, its nodes, what fits on them, and how they come and go."""
