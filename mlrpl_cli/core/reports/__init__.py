"""What people look at: figures and pages.

In: arrays and reports. Out: images and text; only whoever calls writes files.
"""
