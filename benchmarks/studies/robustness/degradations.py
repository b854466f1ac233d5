"""Modifications of radiographs for the study `stress`. All functions take and return grey levels, uint8 [H, W]."""

import io
from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from train.data.localisation import Marks
from train.data.scanners import as_another_scanner

Grey = npt.NDArray[np.uint8]
Change = Callable[[Grey], Grey]

#: Change of brightness in grey levels, and factor of the contrast about the middle grey 127.5.
_BRIGHTNESS, _CONTRAST = 40, 1.5
#: Standard deviation of the noise in grey levels, and libjpeg's quality of 0 to 100.
_NOISE, _JPEG_QUALITY = 10.0, 20
#: Width of the border and side of the corners, as shares of the shorter side.
_BORDER, _CORNER = 0.08, 0.2


def _levels(grey: Grey, factor: float, shift: float) -> Grey:
    return np.clip((grey - 127.5) * factor + 127.5 + shift, 0, 255).astype(np.uint8)


def _jpeg(grey: Grey) -> Grey:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=_JPEG_QUALITY)
    return np.asarray(Image.open(stream))


def _half(grey: Grey) -> Grey:
    image = Image.fromarray(grey)
    return np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC))


def _noise(grey: Grey) -> Grey:
    # Seeded by the image: the same noise in every run and in any order.
    rng = np.random.default_rng(int(grey.sum(dtype=np.int64)))
    return np.clip(np.rint(grey + rng.normal(0, _NOISE, grey.shape)), 0, 255).astype(np.uint8)


def _scanner(grey: Grey) -> Grey:
    return as_another_scanner(grey, np.random.default_rng(int(grey.sum(dtype=np.int64))))


#: Degradations by name, as images may suffer before they reach the model.
DEGRADED: MappingProxyType[str, Change] = MappingProxyType(
    {
        f"brighter by {_BRIGHTNESS} grey levels": lambda grey: _levels(grey, 1, _BRIGHTNESS),
        f"darker by {_BRIGHTNESS} grey levels": lambda grey: _levels(grey, 1, -_BRIGHTNESS),
        f"contrast times {_CONTRAST}": lambda grey: _levels(grey, _CONTRAST, 0),
        f"contrast divided by {_CONTRAST}": lambda grey: _levels(grey, 1 / _CONTRAST, 0),
        "turned by 90 degrees": lambda grey: np.rot90(grey, 1).copy(),
        "turned by 180 degrees": lambda grey: np.rot90(grey, 2).copy(),
        "turned by 270 degrees": lambda grey: np.rot90(grey, 3).copy(),
        f"JPEG quality {_JPEG_QUALITY}": _jpeg,
        "half the resolution": _half,
        f"noise of {_NOISE:.0f} grey levels": _noise,
        "grey scale inverted": np.invert,
        "as from another scanner": _scanner,
    }
)


def _without_border(grey: Grey) -> Grey:
    width = round(_BORDER * min(grey.shape))
    inner = np.zeros_like(grey)
    inner[width:-width, width:-width] = grey[width:-width, width:-width]
    return inner


def _without_corners(grey: Grey) -> Grey:
    side, left = round(_CORNER * min(grey.shape)), grey.copy()
    for rows in (slice(None, side), slice(-side, None)):
        for columns in (slice(None, side), slice(-side, None)):
            left[rows, columns] = 0
    return left


#: Modifications by name that remove regions where cues other than bones lie.
COVERED: MappingProxyType[str, Change] = MappingProxyType(
    {
        f"border of {_BORDER:.0%} blackened": _without_border,
        f"corners of {_CORNER:.0%} blackened": _without_corners,
    }
)


def without_boxes(grey: Grey, marks: Marks) -> Grey:
    """Cover the boxes of an image, each with the mean grey level of its own rim.

    Args:
        grey: Image, uint8 [H, W].
        marks: Boxes of this or another image; they are scaled to the size of `grey`.
    """
    left = grey.copy()
    rows, columns = grey.shape
    for x, y, width, height in marks.boxes:
        top, bottom = _pixel_range(y, y + height, rows / marks.height, rows)
        start, end = _pixel_range(x, x + width, columns / marks.width, columns)
        box = grey[top:bottom, start:end]
        rim = np.concatenate([box[0], box[-1], box[:, 0], box[:, -1]])
        left[top:bottom, start:end] = round(float(rim.mean()))
    return left


def _pixel_range(low: float, high: float, scale: float, size: int) -> tuple[int, int]:
    """Return the first pixel and the end of the pixels that cover a scaled interval, at least one pixel."""
    first = min(size - 1, max(0, int(np.floor(low * scale))))
    return first, min(size, max(first + 1, int(np.ceil(high * scale))))


def sample_marks(marks: Sequence[Marks], count: int, *, seed: int) -> list[Marks]:
    """Sample marks with replacement, to cover boxes in images without fracture too.

    Otherwise the covered pixels alone would reveal the label.

    Args:
        marks: Marks to sample from.
        count: Number of samples.
        seed: Random seed for sampling the marks.
    """
    rng = np.random.default_rng(seed)
    return [marks[number] for number in rng.integers(len(marks), size=count)]
