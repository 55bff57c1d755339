"""A sweep read back from storage: results, leaderboard, confirmation and status."""
