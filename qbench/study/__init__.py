"""The study file as typed, checked values, and its expansion into trials."""
