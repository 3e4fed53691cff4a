"""A run as one file that predicts without its folder and its data.

In: a checkpoint, the decisions that are of it, and what its image tower is made of where that may be passed on. Out: a
file of tensors with a checksum, and the same again of it. Nothing in it is code, and nothing of the data is in it.
"""
