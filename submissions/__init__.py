"""Submissions: check, send, remember and forecast; the leaderboard."""
