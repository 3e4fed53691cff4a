"""What other programs take over.

In: a prepared folder, or a run, or a run with a prepared folder. Out: label files in the formats of `labels.writers`,
and sentences on what they cannot hold; a run as one model file, which computes what `prediction` computes.
"""
