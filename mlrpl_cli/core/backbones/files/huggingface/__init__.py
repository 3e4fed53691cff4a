"""CLIPModel and SiglipModel of transformers, without importing it.

In: the content of its config.json and preprocessor_config.json, and tensors under its names.
Out: open_clip's configuration and names.
"""
