"""A page on which people answer what is unknown, or looks wrong, while the model learns from their answers.

In: a prepared folder, a run or a backbone, and the answers so far. Out: answers in a file of their own, which `prepare`
reads as labels. No answer changes the prepared folder. The page, and whoever speaks to the server, knows images and
classes by their numbers alone; names go out as text. No test image is asked of.
"""
