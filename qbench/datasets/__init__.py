"""Data sets: verified and decoded once by the driver, mapped into memory by the workers."""
