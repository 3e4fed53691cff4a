"""What is learned: the two small parts on the frozen features, and their rivals.

In: `ImageFeatures` and class names. Out: logits and attention (`Recognition`). A method is a visual head, a text head
and the recognizer that compares them; `methods` lists them, `losses` is what they are trained by.
"""
