"""Backbones from the user's own files.

In: the path of a file or a folder, opened as tensors only, and the configuration beside it or the one that is named.
Out: the tensors under open_clip's names, the architecture that they are of, and the backbone made of both.
"""
