"""What is learned: the two small parts on the frozen features, and their rivals.

In: `ImageFeatures` and class names. Out: logits, class features and attention (`Recognition`). A method is a visual
head and a text head; `methods` lists them, `losses` is what they are trained by.
"""
