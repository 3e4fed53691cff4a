"""Processes that were started together, by `torchrun` or as it does.

In: what a launcher says in the environment. Out: who of them speaks, and one line where one of them ends.
"""
