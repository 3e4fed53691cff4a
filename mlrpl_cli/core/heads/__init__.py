"""What is learned: the two small parts on the frozen features, and their rivals.

In: `ImageFeatures` and class names. Out: logits and attention (`Recognition`). A method is a visual head
(semantic decoupling), a text head (category-specific prompts) and the recognizer that compares the two; `methods` lists
them, `losses` is what they are trained by.
"""
