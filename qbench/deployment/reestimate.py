"""Batch-norm statistics for the deployed weights; diagnostics need them too, so they live below."""

from qbench.models.reestimate import reestimate_batch_norm

__all__ = ["reestimate_batch_norm"]
