"""What incomplete and imperfect labels can be made into, by predictions that no cell had a say in for itself.

In: a trained run and a prepared folder. Out: cells that were filled, that should be asked, or that look wrong.
"""
