"""What other programs take over.

In: a prepared folder, and a run where predictions are wanted. Out: label files in the formats of `labels.writers`, and
sentences on what they cannot hold.
"""
