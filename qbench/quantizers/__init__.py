"""Quantizers: one file a method, all under the contract of :mod:`qbench.quantizers.contract`."""
