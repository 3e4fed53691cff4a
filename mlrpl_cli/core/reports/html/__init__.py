"""A run, or a sweep, as one HTML file that needs nothing beside it.

In: what `eval`, `decide`, `check` and `sweep` compute. Out: the page's text, and the one file that is written. Names of
classes, images and folders come in as they are; a page holds them as text, never as markup or script.
"""
