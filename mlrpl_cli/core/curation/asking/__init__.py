"""Which unknown cells somebody should look at next.

In: what a trained run and known cells say of images, and how much may be asked. Out: cells, or images with all of
their open cells, in the order to ask them in, as a table or as tasks of a labelling tool; and how much such an order is
worth, replayed where the answers are known. Hidden labels are looked at in `simulating` alone.
"""
