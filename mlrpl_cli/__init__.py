"""mlrpl: multi-label recognition when images carry only some of their labels."""

__version__ = "0.1.0"
