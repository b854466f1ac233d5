"""Division of many images into shards, so that several machines each classify a part of the same list."""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple, Self

from fracture_edge.errors import FractureEdgeError


class Shard(NamedTuple):
    """Shard of a list of images.

    Attributes:
        number: Number of the shard, from 1 to `shards`.
        shards: Number of shards.
    """

    number: int
    shards: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``NUMBER/COUNT``, for example ``3/16``.

        Raises:
            FractureEdgeError: The text has another form, or the number is not between 1 and the count.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise FractureEdgeError(f"'{text}' is not NUMBER/COUNT, such as 3/16")
        shard = cls(int(found[1]), int(found[2]))
        if not 1 <= shard.number <= shard.shards:
            raise FractureEdgeError(f"shard {text}: the number must be between 1 and {shard.shards}")
        return shard

    def has(self, path: str | os.PathLike[str]) -> bool:
        """Return whether an image belongs to this shard.

        The shard follows from the bytes of the path as it is given, by BLAKE2b: it does not depend on the other
        paths, on the machine or on the version of Python. ``x.png`` and ``/xrays/x.png`` are different paths.
        """
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.shards == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.shards}"

    def of(self, files: list[Path]) -> list[Path]:
        """Return the files of this shard, in their order."""
        return [file for file in files if self.has(file)]
