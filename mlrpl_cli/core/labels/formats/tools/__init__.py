"""What labelling tools export.

In: a tool's export. Out: `Records`. A file a format.
"""
