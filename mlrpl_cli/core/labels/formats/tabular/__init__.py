"""Labels in tables of any kind.

In: CSV, TSV, Parquet and XLSX files. Out: `Records`. `files` says which files are meant, `dialect`, `text` and `binary`
get columns of text out of one, `sheets` has them as a table, `columns`, `splits` and `groups` know what columns are
called and what cells mean, `options` is what every table may be told, and every other file is a format: a column per
class, a row per label, or all labels in a cell.
"""
