"""Figures: scores against labels.

In: a trained run and a split, or arrays of scores and labels. Out: average precision, precision and recall, intervals
of differences, where attention lies.
"""
