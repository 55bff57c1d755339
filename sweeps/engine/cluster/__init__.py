"""The Ray cluster that a sweep runs on: its nodes, their resources, and how nodes join and leave."""
