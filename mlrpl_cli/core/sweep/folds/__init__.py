"""A sweep over folds: every image is scored by what was trained on the other folds.

In: which image is of which fold, and what was scored of each fold. Out: folds by row, and a row of joined scores.
"""
