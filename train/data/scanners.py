"""Augmentation by what other scanners and archives do to a radiograph, for uint8 images.

Each changed image gets a random half of the steps, in the order in which they happen between detector and file:
curve, unsharp masking and local contrast of the scanner, borders of its collimator, a marker, the resolution of
the archive, JPEG.
"""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Pixels = npt.NDArray[np.uint8]
_Step = Callable[[Image.Image, np.random.Generator], Image.Image]

#: Largest change of the exponent of the grey levels, and share of an S-shaped curve that is blended in.
_GAMMA, _S_CURVE = 2.0, 0.7
#: Radius in pixels and largest amount of unsharp masking.
_SHARPENING_RADIUS, _SHARPENING = (0.7, 2.5), 1.5
#: Radius as a share of the shorter side, and largest amount of what a neighbourhood's mean is taken off by.
_LOCAL_RADIUS, _LOCAL_CONTRAST = (0.05, 0.2), 0.8
#: Largest border of a collimator, as a share of the side. A wider one would hide fractures whose label stays.
_COLLIMATOR = 0.1
#: Height of a marker as a share of the image's, and its letters.
_MARKER, _LETTERS = (0.03, 0.08), ("L", "R", "AP", "PA", "LAT", "OBL", "PORTABLE")
#: Smallest longer side in pixels that an archive keeps.
_LOWEST_RESOLUTION = 150
_JPEG_QUALITY = (25, 95)


class ScannerVariation:
    """Random changes of a share of the images of a batch; the same for the same seed, epoch and batch."""

    def __init__(self, share: float, seed: int) -> None:
        """Create the augmentation.

        Args:
            share: Share of the images that are changed, 0 to 1.
            seed: Random seed, used together with the numbers of epoch and batch.
        """
        self._share, self._seed = share, seed

    def __call__(self, images: Pixels, epoch: int, batch: int) -> Pixels:
        """Return changed copies.

        Args:
            images: Images, uint8 [N, H, W, 1 or more]; only the first channel is changed.
            epoch: Number of the epoch.
            batch: Number of the batch.
        """
        random = np.random.default_rng([self._seed, epoch, batch])
        changed = images.copy()
        for image in changed:
            if random.random() < self._share:
                image[..., 0] = as_another_scanner(image[..., 0], random)
        return changed


def as_another_scanner(grey: Pixels, random: np.random.Generator) -> Pixels:
    """Change one image by a random half of the steps.

    Args:
        grey: Image, uint8 [H, W].
        random: Random numbers.
    """
    image = Image.fromarray(grey)
    for step in _STEPS:
        if random.random() < 0.5:
            image = step(image, random)
    return np.asarray(image)


def _curve(image: Image.Image, random: np.random.Generator) -> Image.Image:
    levels = np.linspace(0, 1, 256) ** np.exp(random.uniform(-1, 1) * np.log(_GAMMA))
    share = random.uniform(0, _S_CURVE)
    # Smoothstep, as the toe and shoulder of a film's characteristic curve.
    curved = (1 - share) * levels + share * levels**2 * (3 - 2 * levels)
    return image.point(np.rint(255 * curved).astype(np.uint8).tolist())


def _unsharp(image: Image.Image, random: np.random.Generator) -> Image.Image:
    radius, amount = random.uniform(*_SHARPENING_RADIUS), random.uniform(0, _SHARPENING)
    return image.filter(ImageFilter.UnsharpMask(radius, round(100 * amount), 0))


def _local_contrast(image: Image.Image, random: np.random.Generator) -> Image.Image:
    radius = random.uniform(*_LOCAL_RADIUS) * min(image.size)
    grey = np.asarray(image, np.float32)
    mean = np.asarray(image.filter(ImageFilter.BoxBlur(radius)), np.float32)
    # Part of the slow changes is taken off, about the image's own mean.
    even = grey - random.uniform(0, _LOCAL_CONTRAST) * (mean - mean.mean())
    return Image.fromarray(np.clip(np.rint(even), 0, 255).astype(np.uint8))


def _collimator(image: Image.Image, random: np.random.Generator) -> Image.Image:
    width, height = image.size
    left, right = (round(width * random.uniform(0, _COLLIMATOR)) for _ in range(2))
    top, bottom = (round(height * random.uniform(0, _COLLIMATOR)) for _ in range(2))
    corners = [
        (left, top),
        (width - 1 - right, top),
        (width - 1 - right, height - 1 - bottom),
        (left, height - 1 - bottom),
    ]
    # Blades are seldom parallel to the picture.
    skew = 0.03 * min(width, height)
    moved = [(x + random.uniform(-skew, skew), y + random.uniform(-skew, skew)) for x, y in corners]
    open_field = Image.new("L", image.size)
    ImageDraw.Draw(open_field).polygon(moved, fill=255)
    return ImageChops.multiply(image, open_field.filter(ImageFilter.GaussianBlur(1)))


def _marker(image: Image.Image, random: np.random.Generator) -> Image.Image:
    text = _LETTERS[int(random.integers(len(_LETTERS)))]
    size = max(6, round(random.uniform(*_MARKER) * image.height))
    left, top, right, bottom = (
        round(value) for value in ImageDraw.Draw(image).textbbox((0, 0), text, font_size=size)
    )
    x = int(random.integers(max(1, image.width - (right - left))))
    y = int(random.integers(max(1, image.height - (bottom - top))))
    marked = image.copy()
    draw, bright = ImageDraw.Draw(marked), int(random.integers(180, 256))
    if random.random() < 0.5:
        # Letters of lead on a plate; bright on the picture, as lead is.
        draw.rectangle((x, y, x + right - left, y + bottom - top), fill=bright // 3)
    draw.text((x - left, y - top), text, fill=bright, font_size=size)
    return marked


def _resolution(image: Image.Image, random: np.random.Generator) -> Image.Image:
    longer = max(image.size)
    kept = random.uniform(min(_LOWEST_RESOLUTION, longer), longer) / longer
    small = (max(1, round(image.width * kept)), max(1, round(image.height * kept)))
    return image.resize(small, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image, random: np.random.Generator) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(random.integers(*_JPEG_QUALITY)))
    return Image.open(stream)


_STEPS: tuple[_Step, ...] = (_curve, _unsharp, _local_contrast, _collimator, _marker, _resolution, _jpeg)
