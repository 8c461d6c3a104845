"""tailrec: recommendations that sell a shop's whole catalogue."""

__version__ = "0.1.0"
