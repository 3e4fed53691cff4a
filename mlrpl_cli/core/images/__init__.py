"""Image files to pixels.

In: names that a user or a data set gives. Out: uint8 RGB of one size, whole or as a random view, and DataLoaders over
them. Bounds on memory and on metadata are here; what a backbone wants of pixels is not.
"""
