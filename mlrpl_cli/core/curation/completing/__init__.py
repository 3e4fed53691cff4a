"""Unknown cells that are filled under a promise, and labels with them.

In: scores of cells by classifiers that did not know them, and the known ones. Out: what each class, or classes
together, may be filled with, and a label file with a table of where each of its cells comes from.
"""
