"""OpenAI's architectures: our own fast ResNet and ViT image towers, and the text tower with its tokenizer.

In: a state dict under OpenAI's names. Out: modules whose sizes are read off the tensors.
"""
