"""What people answered about single cells, in one SQLite file that `mlrpl review` writes.

In: a data set and the labels that it was given (`records.DataSet`), then one answer after another (`store`). Out: the
answers that stand, also while others are added (`reading`), and the labels that they make (`settling`). The file is
only ever added to: an answer that is taken back stays in it, with a row that says so.
"""
