"""The data set that is drawn by code, so that everything can be tried without a download.

In: a seed, an index and what makes scenes hard. Out: pixels, which classes are there, and where; the same bytes on
every machine. It knows no files and no label states: `labels.formats.scenes` writes what is drawn here. A `pen` draws
`objects`; a `canvas` holds them before a background and is photographed; `rendering` chooses what a scene shows.
"""
