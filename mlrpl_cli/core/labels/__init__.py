"""What is known of each (image, class) cell, as its publisher says it.

In: a data set's own files, read by one of `formats`. Out: `Records` with PRESENT, ABSENT or UNKNOWN in each cell
(`states`), the mask of the cells that stay known (`masks`), and which images train and test (`splits`, `stratify`).
`sources` says where published data sets are and fetches them; `answers` keeps what people say of single cells.
"""
