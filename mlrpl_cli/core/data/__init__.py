"""Data sets: one reader per format, the masks that hide labels, the prepared folder, and images."""
