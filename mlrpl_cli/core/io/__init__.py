"""Files, processes, devices and errors, before anything is known of images or labels.

In: paths, bytes and addresses from outside. Out: checked content, files written atomically, one-line errors, progress
that is told to whoever listens. Limits on what is read are in `reading`; everything that is written goes through
`files` or `tensorfiles`. Nothing here imports another room.
"""
