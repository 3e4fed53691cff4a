"""A trained run on new images.

In: a run folder or a model file, and image files. Out: probabilities and attention maps. No text encoder, tokenizer or
training code.
"""
