"""Runs trials: through Ray Tune on this machine or a cluster, or one by one in this process."""
