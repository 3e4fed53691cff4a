"""The desk by HTTP: who may speak to it, at which address, and what is sent back.

In: requests below a secret, which speak of rows and columns. Out: JSON, the page's own files, and pictures as JPEG.
"""
