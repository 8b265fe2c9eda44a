"""Tuning every row of a study alike: spaces, searches, rounds, choices."""
