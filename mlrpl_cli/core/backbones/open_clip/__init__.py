"""Everything that open_clip can build: its image and text towers, through its own modules.

In: an architecture in open_clip's words and a state dict under its names. Out: a `Backbone` whose towers give what
open_clip's `encode_image` and `encode_text` give, and a grid beside. Nothing else here imports open_clip: `library`.
"""
