"""Data sets and benchmarks as their publishers give them, and what tools write in the same form.

In: the publisher's files. Out: `Records`, absent and unknown as the publisher's documentation has them. Each file is a
format.
"""
