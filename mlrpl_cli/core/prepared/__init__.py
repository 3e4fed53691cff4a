"""The prepared folder: splits divided, labels hidden, checksums written.

In: `Records` and the options of `mlrpl prepare`. Out: a folder that everything after it only reads (`Prepared`).
`job` checks what is asked for, `division` and `content` make of it what the folder holds, `differences` compares that
with what is there, `build` decides whether it takes its place, and `folder` writes, reads and verifies it.
"""
