"""Generate broken image files by number: small valid files (seeds) and random mutations of them.

The same number gives the same bytes with the same versions of Pillow and pydicom.
"""

from collections.abc import Callable
from functools import cache
from random import Random

import numpy as np

from benchmarks.studies.fuzzing.seeds import PATIENT, SEEDS


def _flip_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _flip_header_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 2, 4))):
        data[random.randrange(min(len(data), 600))] ^= 1 << random.randrange(8)


def _cut(data: bytearray, random: Random) -> None:
    del data[random.randrange(1, len(data) + 1) :]


def _span(data: bytearray, random: Random) -> slice:
    start = random.randrange(len(data))
    return slice(start, start + random.choice((1, 4, 12, 64, 512)))


def _repeat(data: bytearray, random: Random) -> None:
    span = _span(data, random)
    data[span.start : span.start] = data[span] * random.choice((1, 1, 2, 20))


def _remove(data: bytearray, random: Random) -> None:
    if len(data) > 1:
        del data[_span(data, random)]


def _overwrite_length(data: bytearray, random: Random) -> None:
    """Overwrite some bytes with a number that is critical as a length, size or offset."""
    width = random.choice((1, 2, 4, 8))
    top = 1 << (8 * width)
    number = random.choice((0, 1, top - 1, top // 2, top // 2 - 1, len(data) % top, random.randrange(top)))
    at = random.randrange(len(data))
    data[at : at + width] = number.to_bytes(width, random.choice(("big", "little")))


def _shuffle(data: bytearray, random: Random) -> None:
    one, other = _span(data, random), _span(data, random)
    data[one], data[other] = data[other], data[one]


def _append_seed(data: bytearray, random: Random) -> None:
    data += _seed(random.choice(tuple(SEEDS)))


def _splice_seed(data: bytearray, random: Random) -> None:
    other = _seed(random.choice(tuple(SEEDS)))
    at = random.randrange(len(data))
    data[at:] = other[min(at, len(other) - 1) :]


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip_bits,
    _flip_header_bits,
    _cut,
    _repeat,
    _remove,
    _overwrite_length,
    _overwrite_length,
    _shuffle,
    _append_seed,
    _splice_seed,
)


@cache
def _seed(name: str) -> bytes:
    return SEEDS[name]()


def mutant(number: int) -> tuple[str, bytes]:
    """Generate the broken file with a number.

    Returns:
        Name of the seed, and contents of the file, at least one byte.
    """
    # Not used for security: the same number must give the same file.
    random = Random(number)  # noqa: S311
    name = tuple(SEEDS)[number % len(SEEDS)]
    data = bytearray(_seed(name))
    for mutate in random.choices(MUTATIONS, k=random.choice((1, 1, 1, 2, 3, 5))):
        mutate(data, random)
        if not data:
            data = bytearray(b"\0")
    return name, bytes(data)


def outcome(data: bytes) -> str:
    """Read a file as `classify` does.

    Returns:
        ``ok``, or the status of the `fracture_edge.errors.ImageError`.

    Raises:
        AssertionError: The result violates the contract of `fracture_edge.images.image_file.load_image`, or the
            error message contains the patient's name.
        Exception: Any other exception; none should occur.
    """
    from fracture_edge.errors import ImageError
    from fracture_edge.images.image_file import load_frames

    try:
        for picture in load_frames(data, model_size=(16, 16)):
            grey = picture.pixels
            if grey.dtype != np.uint8 or grey.ndim != 2 or not grey.flags.c_contiguous:
                raise AssertionError(f"{grey.dtype} {grey.shape}")
    except ImageError as error:
        if any(word in str(error) for word in PATIENT.split("^")):
            raise AssertionError("the message contains the patient's name") from error
        return str(error.status)
    return "ok"
