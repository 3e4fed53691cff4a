"""The prepared folder: labels hidden, splits drawn, checksums written.

In: `Records` and the options of `mlrpl prepare`. Out: a folder that everything after it only reads (`Prepared`).
`build` makes it, `folder` writes, reads and verifies it.
"""
