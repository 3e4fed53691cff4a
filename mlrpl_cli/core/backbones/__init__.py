"""Frozen CLIPs.

In: a name or a file of weights. Out: an image encoder on its device (`frozen`), which gives `ImageFeatures`, a text
encoder that takes token embeddings, a tokenizer, and a fingerprint of the weights. Nothing here is ever trained.
"""
