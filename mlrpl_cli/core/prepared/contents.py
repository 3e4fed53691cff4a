"""What the image files hold, as a prepared folder keeps it: an image is known again by it under another name.

Axes: N images.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from mlrpl_cli.core.io.errors import DataError
from mlrpl_cli.core.io.files import sha256_of_file
from mlrpl_cli.core.io.progress import Progress, track
from mlrpl_cli.core.labels.records import Records

CONTENT = np.dtype([("bytes", "<i8"), ("sha256", "S64")])
"""Size of an image file, -1 where it is not known; and its SHA-256 in hexadecimal, empty where it was not computed."""
_SHA256 = re.compile(rb"[0-9a-f]{64}")


def contents_of(records: Records, hashed: bool, progress: Progress) -> np.ndarray:
    """(N,) of CONTENT: sizes, and with `hashed` digests. Raises DataError for a file that cannot be hashed."""
    contents = np.zeros(len(records.images), CONTENT)
    contents["bytes"] = -1
    for row, name in enumerate(records.images):
        with suppress(OSError):
            contents["bytes"][row] = (records.image_root / name).stat().st_size
    if hashed:
        names = track(progress, records.images, "hashing images", len(records.images))
        try:
            contents["sha256"] = [sha256_of_file(records.image_root / name) for name in names]
        except OSError as error:
            raise DataError(f"cannot read {error.filename}: {error.strerror}; check the images") from error
    return contents


def is_whole(contents: np.ndarray, images: int) -> bool:
    """Whether an array is what `contents_of` can have returned for so many images."""
    if contents.dtype != CONTENT or contents.shape != (images,) or (contents["bytes"] < -1).any():
        return False
    return all(map(_SHA256.fullmatch, contents["sha256"].tolist())) or not contents["sha256"].astype(bool).any()


def digests_in(contents: np.ndarray | None) -> tuple[str, ...] | None:
    """N hexadecimal SHA-256s; None where they were not computed."""
    if contents is None or not contents["sha256"].astype(bool).any():
        return None
    return tuple(digest.decode() for digest in contents["sha256"].tolist())


def known_again(removed: np.ndarray | None, added: np.ndarray | None) -> int:
    """How many of the `added` contents are of those that were `removed`, both (M,) of CONTENT.

    By digest where both have one. By size it is a guess: those count that no other of either side shares.
    """
    if removed is None or added is None:
        return 0
    old, new = digests_in(removed), digests_in(added)
    if old is not None and new is not None:
        return sum(digest in set(old) for digest in new)
    sizes = [_alone(contents["bytes"].tolist()) for contents in (removed, added)]
    return len(sizes[0] & sizes[1])


def _alone(sizes: Sequence[int]) -> set[int]:
    return {size for size, count in Counter(sizes).items() if count == 1 and size > 0}
