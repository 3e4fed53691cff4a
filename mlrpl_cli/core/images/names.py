"""From the name by which a label file calls an image to the file that is meant.

Label files come from other machines: names have backslashes, absolute paths, another Unicode normal form, or no suffix.
What is found is the file's own name; a name that could mean two files is a problem, never a guess.
"""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from pathlib import Path
from unicodedata import normalize

from mlrpl_cli.core.images.find import images_below, list_folder
from mlrpl_cli.core.images.kinds import is_image
from mlrpl_cli.core.io.errors import DataError, Problems
from mlrpl_cli.core.io.reading import is_file_name, leads_outside, short


class ImageNames:
    """The files below a folder by the names that label files give them. Each folder is listed once."""

    def __init__(self, root: Path, problems: Problems) -> None:
        """What is wrong with a name that is looked up is added to `problems`, once."""
        self.root, self._problems = root, problems
        self._base = posixpath.join(Path(os.path.abspath(root)).as_posix(), "")
        self._folders: dict[str, tuple[dict[str, str], dict[str, list[str]]]] = {}
        self._known: dict[str, str | None] = {}

    def find(self, name: str) -> str | None:
        """The path below `root`, with forward slashes, of the file called `name`; None for a problem.

        A name without the suffix of an image is completed when exactly one image fits.
        """
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def has(self, name: str) -> bool:
        """Whether there is such a file; without it there is no problem."""
        before, self._problems = self._problems, Problems()
        found = self.find(name) is not None
        if not found:
            del self._known[name]
        self._problems = before
        return found

    def _find(self, name: str) -> str | None:
        if not is_file_name(name):
            self._problems.add("names are none that a file can have", short(name) or "an empty one")
            return None
        relative = self._relative(name)
        if leads_outside(relative):
            is_absolute = ".." not in relative.split("/")
            elsewhere = "are an absolute path that is not below the image folder: paths relative to it are read"
            what = elsewhere if is_absolute else "lead outside the image folder"
            self._problems.add(f"image names {what}", short(name))
            return None
        folder, _, last = relative.rpartition("/")
        files, stems = self._listed(folder)
        key = normalize("NFC", last)
        if key in files:
            return posixpath.join(folder, files[key])
        fitting = [] if is_image(last) else stems.get(key, [])
        if len(fitting) == 1:
            return posixpath.join(folder, fitting[0])
        if fitting:
            self._problems.add("names fit several files", f"{short(name)}: {', '.join(map(short, fitting))}")
        else:
            self._problems.add("images are missing", short(name))
        return None

    def _relative(self, name: str) -> str:
        return posixpath.normpath(name.strip().replace("\\", "/")).removeprefix(self._base)

    def _listed(self, folder: str) -> tuple[dict[str, str], dict[str, list[str]]]:
        """The files of a folder by their normal form, and its images by their normal form without suffix."""
        if folder not in self._folders:
            files = {normalize("NFC", file): file for file in sorted(list_folder(self.root / folder))}
            stems = defaultdict[str, list[str]](list)
            for key, file in files.items():
                if is_image(file):
                    stems[posixpath.splitext(key)[0]].append(file)
            self._folders[folder] = files, stems
        return self._folders[folder]


class ImagesById:
    """The images anywhere below a folder by their file names without suffix, as published sets number their images."""

    def __init__(self, root: Path, problems: Problems) -> None:
        """An id of two files that is looked up is added to `problems`. Raises DataError for what is no folder."""
        self._problems, self._others = problems, defaultdict[str, list[str]](list)
        self._files: dict[str, str] = {}
        if not os.path.isdir(root):
            raise DataError(f"{root} is no folder; name the one with the images with --images")
        start = len((root / "_").as_posix()) - 1
        for path in images_below(root):
            file = path.as_posix()[start:]
            identifier = posixpath.splitext(posixpath.basename(file))[0]
            if self._files.setdefault(identifier, file) != file:
                self._others[identifier].append(file)

    def __len__(self) -> int:
        return len(self._files)

    def find(self, identifier: str) -> str | None:
        """The path below the folder, with forward slashes, of the image with that id; None for one that is not there.

        Of an id of two files the first is taken, which is a problem, told once.
        """
        if others := self._others.pop(identifier, None):
            files = ", ".join(map(short, (self._files[identifier], *others)))
            self._problems.add("image ids fit several files", f"{short(identifier)}: {files}")
        return self._files.get(identifier)
