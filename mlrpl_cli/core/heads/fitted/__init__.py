"""What is fitted to all training images at once, before steps begin.

In: what a recognizer reads of all training images, and how much each cell counts. Out: the minimum of a convex loss.
"""
