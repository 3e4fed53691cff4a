"""What runs the cells of a sweep: processes of this machine, or a Ray cluster.

In: cells, and what all of them share. Out: each cell with what it came to, as they finish; nothing is written here.
"""
