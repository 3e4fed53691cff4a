"""The backbone `lite`, which recognises things in photographs: its towers are of packages that pip installs.

In: files of the installed packages, found and checked by `packages`. Out: a backbone, by `family`, whose joint space is
ImageNet's labels, by `joint`. Nothing is downloaded and nothing is trained.
"""
