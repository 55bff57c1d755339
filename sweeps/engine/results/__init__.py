"""Results, leaderboard, confirmation and status of a sweep, read from its storage."""
