"""Diagnostics: one file each; they measure, and leave the network as it was."""
