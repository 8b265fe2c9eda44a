"""qbench: which way of training through the discretization should I use, and why?"""

__version__ = "0.1.0"
