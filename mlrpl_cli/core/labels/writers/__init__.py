"""Labels back into the files that other tools read.

In: `Records`, and scores where a run predicts. Out: one file, or a folder of one file a split, written whole or not at
all, and a sentence for everything that the format cannot hold. `registry` names the formats.
"""
