"""Frozen features of images, encoded once.

In: image files and a frozen encoder. Out: batches of `ImageFeatures` with the positions of their images, from the
feature cache on disk or encoded as they come.
"""
