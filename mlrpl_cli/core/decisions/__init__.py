"""From scores to decisions: what a probability is worth, and which cells are yes, no or better left open.

In: logits (N, C) of images that a recognizer was not trained on, and their known cells; no rule here sees a hidden
label or one of the test split. Out: a calibration and a threshold of each class, which a run keeps in its folder
(`runs/decided`). Each rule has its equation and its assumption in docs/decisions.md.
"""
