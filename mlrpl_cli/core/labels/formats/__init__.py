"""One file a format: its options and its reader. `registry` lists them.

In: a format's own options. Out: `labels.records.Records`. A reader is imported when it is used.
"""
