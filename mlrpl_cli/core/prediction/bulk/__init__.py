"""Prediction over more images than one list holds: divided into parts that workers of a Ray cluster predict.

In: a run, and images in folders, lists, Parquet files and tars, on disk or on a file system that pyarrow opens. Out: a
folder of Parquet files, a part each, to which a job that was stopped adds what is missing. Ray is imported in `cluster`
alone.
"""
