"""COCO's form of JSON, as the releases have it and as every tool exports it, and LVIS, which says what was checked.

In: one annotation file, or several. Out: `Records`. `annotation_files` finds the files, `instances` reads one,
`categories` makes classes of what all of them list; `coco` and `lvis` are the formats.
"""
