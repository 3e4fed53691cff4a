"""Labels in tables of any kind.

In: CSV, TSV, Parquet and XLSX files. Out: `Records`. `text` and `sheets` get columns of text out of a file, `columns`
knows what columns are called and what cells mean, and every other file is a format: a column per class, a row per
label, or all labels in a cell.
"""
