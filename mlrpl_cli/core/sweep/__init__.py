"""Many methods, proportions and seeds over one set of frozen features.

In: a prepared folder and what to compare. Out: a row of results a run, and the report of all rows.
"""
