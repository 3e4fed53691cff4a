"""What a run folder holds to turn scores into decisions, and how it is read; what chooses it is in `core/decisions`.

In: logits (N, C) of a recognizer, and files of a run folder. Out: calibrated probabilities, and yes, no or unsure.
"""
