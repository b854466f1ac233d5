"""Scan of image files for the audit and the grouping: one pass over every file, in parallel."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ImageError, Status
from fracture_edge.images.image_file import load_image

#: Side in pixels of the thumbnails whose correlation identifies near-identical images.
THUMBNAIL = 32
#: Bits per side of the perceptual hash: 8 x 8 = 64 bits.
HASH_SIDE = 8

#: Grey levels up to which a pixel counts as black, and from which it counts as white.
BLACK, WHITE = 8, 247


@dataclass(frozen=True, slots=True)
class Scan:
    """Properties of one image file. All but status, detail and file size are 0, empty or ``None`` if unreadable.

    Attributes:
        status: ``Status.OK``, or why the file cannot be read.
        detail: Reason in words; empty if the file can be read.
        file_bytes: Size of the file in bytes.
        width: Width in pixels.
        height: Height in pixels.
        mean: Mean grey level, 0 to 255.
        deviation: Standard deviation of the grey levels.
        black: Share of pixels at most `BLACK`.
        white: Share of pixels at least `WHITE`.
        pixels: SHA-256 of shape and grey values; equal for pixel-identical images, whatever their encoding.
        thumbnail: Thumbnail, float32 [32 * 32], zero mean and unit length, so that a dot product is a correlation.
        hash: Perceptual hash (DCT), bool [64], see `imagehash.phash`.
    """

    status: Status
    detail: str = ""
    file_bytes: int = 0
    width: int = 0
    height: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    black: float = 0.0
    white: float = 0.0
    pixels: str = ""
    thumbnail: npt.NDArray[np.float32] | None = None
    hash: npt.NDArray[np.bool_] | None = None

    @property
    def ok(self) -> bool:
        """Whether the image can be read."""
        return self.status is Status.OK

    @property
    def trivial_features(self) -> tuple[float, ...]:
        """Size, brightness, contrast, share of black and of white: no model should get by on these."""
        return (self.width, self.height, self.mean, self.deviation, self.black, self.white)


def scan_files(paths: list[Path], *, progress: Callable[[int], object] = lambda _: None) -> list[Scan]:
    """Scan files on all cores, in threads: Pillow releases the interpreter's lock while it decodes.

    Args:
        paths: Paths of the files.
        progress: Callback, called with 1 after each file.

    Returns:
        One `Scan` per path, in order.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = []
        for scan in pool.map(scan_file, paths):
            results.append(scan)
            progress(1)
    return results


def scan_file(path: Path) -> Scan:
    """Scan one file; if it cannot be read, the status of the result says why."""
    try:
        grey = load_image(path)
    except ImageError as error:
        return Scan(error.status, error.detail, path.stat().st_size if path.exists() else 0)
    histogram = np.bincount(grey.ravel(), minlength=256)
    share = histogram / grey.size
    levels = np.arange(256)
    mean = float(share @ levels)
    image = Image.fromarray(grey)
    return Scan(
        Status.OK,
        file_bytes=path.stat().st_size,
        width=grey.shape[1],
        height=grey.shape[0],
        mean=mean,
        deviation=float(np.sqrt(share @ (levels - mean) ** 2)),
        black=float(share[: BLACK + 1].sum()),
        white=float(share[WHITE:].sum()),
        pixels=hashlib.sha256(repr(grey.shape).encode() + grey.tobytes()).hexdigest(),
        thumbnail=_thumbnail(image),
        hash=imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel(),
    )


def _thumbnail(image: Image.Image) -> npt.NDArray[np.float32]:
    small = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float32).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > 0 else small
