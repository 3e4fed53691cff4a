"""The frozen CLIP encoders and the small learned parts that stand on them."""
