"""Driver of a sweep, from the first check to the leaderboard."""
