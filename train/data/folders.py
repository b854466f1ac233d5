"""Labels and splits of images from the names of their folders, and an account of what has none.

Folder names are compared without case, blanks, hyphens and underscores. The nearest class folder decides:
``fractured/not fractured/x.png`` is not fractured.
"""

import re
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from fracture_edge.batch.folders import find_images

NEGATIVE_NAMES = frozenset(
    {"notfractured", "nonfractured", "nonfracture", "nofracture", "unfractured", "normal", "negative"}
)
POSITIVE_NAMES = frozenset({"fractured", "fracture", "fractures", "positive", "abnormal"})
SPLIT_NAMES = MappingProxyType(
    {
        "train": "train", "training": "train",
        "val": "val", "valid": "val", "validation": "val",
        "test": "test", "testing": "test",
    }
)  # fmt: skip
#: Folder around the class folders, or around the split folders.
_WRAPPER = "images"


class LabelledImage(NamedTuple):
    """Image in a class folder.

    Attributes:
        path: Path relative to the data folder, with forward slashes.
        label: Label: 1 fractured, 0 not fractured.
        split: ``train``, ``val``, ``test``, or empty.
    """

    path: str
    label: int
    split: str


class LabelledFolder(NamedTuple):
    """Content of a data folder.

    Attributes:
        images: Images with a label, sorted by path. Either all have a split or none has.
        left_out: What was left out, one line of words for each kind, with its number.
    """

    images: list[LabelledImage]
    left_out: list[str]


def label_of_folder(name: str) -> int | None:
    """Return the label, 0 or 1, that a folder name stands for; ``None`` if it is not the name of a class."""
    plain = re.sub(r"[\s_\-]+", "", name.lower())
    if plain in NEGATIVE_NAMES:
        return 0
    return 1 if plain in POSITIVE_NAMES else None


def read_folders(root: Path) -> LabelledFolder:
    """Read the images of a data folder with class folders, inside split folders if there are any.

    Images are left out if no folder above them is a class, if their top folder is neither class nor split, if
    their folders name two splits, and if they have no split although others have one.

    Raises:
        OSError: The folder cannot be read.
    """
    found = find_images(root, recursive=True, follow=lambda name: name == _WRAPPER or _is_known(name))
    wrapped = not any(label_of_folder(path.name) is not None and path.is_dir() for path in root.iterdir())
    images: list[LabelledImage] = []
    left_out: Counter[str] = Counter()
    for path in found.images:
        relative = path.relative_to(root)
        folders = relative.parts[:-1]
        if wrapped and folders[:1] == (_WRAPPER,):
            folders = folders[1:]
        labels = [label for label in map(label_of_folder, folders) if label is not None]
        splits = {SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES}
        if not labels:
            left_out[f"images in {_shown(folders)}, which is not the name of a class"] += 1
        elif not _is_known(folders[0]):
            left_out[f"images in '{folders[0]}', which is neither a class nor a split"] += 1
        elif len(splits) > 1:
            left_out[f"images in '{'/'.join(folders)}', which is in two splits"] += 1
        else:
            images.append(LabelledImage(relative.as_posix(), labels[-1], "".join(splits)))
    if any(image.split for image in images):
        for image in images:
            if not image.split:
                left_out[f"images in '{image.path.rpartition('/')[0]}', which is in no split folder"] += 1
        images = [image for image in images if image.split]
    counted = [f"{count} {words}" for words, count in sorted(left_out.items())]
    return LabelledFolder(sorted(images), [*counted, *found.left_out])


def _is_known(name: str) -> bool:
    return label_of_folder(name) is not None or name.lower() in SPLIT_NAMES


def _shown(folders: tuple[str, ...]) -> str:
    """Return the path down to the first folder that is neither a class nor a split."""
    for number, name in enumerate(folders, 1):
        if not _is_known(name):
            return f"'{'/'.join(folders[:number])}'"
    return f"'{'/'.join(folders) or '.'}'"
