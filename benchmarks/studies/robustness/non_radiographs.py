"""Generated images that are not radiographs, and unusable versions of radiographs, for the study `unlike`."""

from collections.abc import Callable, Iterator
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Grey = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.uint8]

_HEIGHT, _WIDTH = 454, 373
_WORDS = ["radius", "ulna", "tibia", "fibula", "femur", "pelvis", "clavicle", "without", "with", "of", "in", "no"]


def _noise(rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5:
        return rng.integers(0, 256, (_HEIGHT, _WIDTH), np.uint8)
    values = rng.normal(rng.uniform(60, 180), rng.uniform(15, 60), (_HEIGHT, _WIDTH))
    return np.clip(values, 0, 255).astype(np.uint8)


def _blank(rng: np.random.Generator) -> Picture:
    level, grain = rng.uniform(0, 255), rng.uniform(0, 2)
    return np.clip(rng.normal(level, grain, (_HEIGHT, _WIDTH)), 0, 255).astype(np.uint8)


def _ramp(rng: np.random.Generator) -> Picture:
    rows, columns = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    angle = rng.uniform(0, 2 * np.pi)
    values = np.cos(angle) * rows / _HEIGHT + np.sin(angle) * columns / _WIDTH
    return np.asarray(255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


def _page(rng: np.random.Generator) -> Picture:
    """Generate a page of text, dark on light."""
    page = Image.new("L", (_WIDTH, _HEIGHT), int(rng.integers(225, 256)))
    draw = ImageDraw.Draw(page)
    for top in range(24, _HEIGHT - 24, 14):
        draw.text((24, top), " ".join(rng.choice(_WORDS, 9)), fill=int(rng.integers(0, 70)))
    return np.asarray(page.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.7))))


def _screen(rng: np.random.Generator) -> Picture:
    """Generate a coloured window with a title bar, buttons and text."""
    colours = rng.integers(0, 256, (4, 3))
    screen = Image.new("RGB", (640, 480), (236, 236, 240))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 640, 28), fill=tuple(map(int, colours[0])))
    draw.rectangle((0, 28, 150, 480), fill=tuple(map(int, colours[1])))
    for number in range(12):
        draw.text((170, 50 + 32 * number), " ".join(rng.choice(_WORDS, 8)), fill=(30, 30, 30))
        draw.rectangle(
            (560, 48 + 32 * number, 620, 70 + 32 * number), fill=tuple(map(int, colours[2 + number % 2]))
        )
    return np.asarray(screen)


#: Generators of images by name, uint8 [H, W] or [H, W, 3].
GENERATED: MappingProxyType[str, Callable[[np.random.Generator], Picture]] = MappingProxyType(
    {"noise": _noise, "blank": _blank, "ramp": _ramp, "page of text": _page, "screenshot": _screen}
)


def _blurred(grey: Grey) -> Grey:
    # 2 % of the shorter side: removes a fracture line of 1 to 3 pixels in 373.
    return np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(0.02 * min(grey.shape))))


def _tiny(grey: Grey) -> Grey:
    image = Image.fromarray(grey)
    scale = 64 / min(image.size)
    return np.asarray(image.resize((max(64, round(image.width * scale)), max(64, round(image.height * scale)))))


#: Modifications by name that make a radiograph, uint8 [H, W], unusable.
SPOILT: MappingProxyType[str, Callable[[Grey], Grey]] = MappingProxyType(
    {
        "grey scale inverted": np.invert,
        "blurred (Gaussian, 2 % of the shorter side)": _blurred,
        "levels divided by 6": lambda grey: grey // 6,
        "levels doubled and 96 added": lambda grey: np.clip(2 * grey.astype(np.int16) + 96, 0, 255).astype(
            np.uint8
        ),
        "64 pixels on the shorter side": _tiny,
    }
)


def generate(name: str, number: int, seed: int = 0) -> Iterator[Picture]:
    """Generate images of one kind.

    Args:
        name: Kind of the images, a key of `GENERATED`.
        number: Number of images.
        seed: Random seed.
    """
    rng = np.random.default_rng((seed, list(GENERATED).index(name)))
    for _ in range(number):
        yield GENERATED[name](rng)
