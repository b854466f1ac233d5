"""Limits on the size of an image, checked against its header before anything is decoded."""

from fracture_edge.errors import ImageSizeError, Status

#: Maximum number of pixels by default; the largest film scanners and flat panels stay under 45 megapixels.
MAX_PIXELS = 50_000_000
#: Minimum of the shorter side in pixels; smaller images cannot show a bone.
MIN_SIDE = 32
#: Maximum number of frames of a file; a cine loop of one minute at 15 frames per second has 900.
MAX_FRAMES = 1000
#: Sentences of the refusals of this module.
TOO_MANY_PIXELS = "{width}x{height} pixels, over the limit of {limit:,}"
TOO_FEW_PIXELS = "{width}x{height} pixels, under {least} on a side"
TOO_MUCH_MEMORY = "takes {needed:,.0f} MB to decode, over the limit of {limit:,.0f} MB"
TOO_MANY_FRAMES = "{frames:,} frames, over the limit of {limit:,}"
TOO_LARGE_FILE = "over the limit of {limit:,.0f} MB for a file"
#: Bytes of memory that reading a file may take for each pixel that is allowed: file, decoder and grey result. An
#: 8-bit colour image takes 5 in addition to its file; 50 megapixels then take 250 MB.
BYTES_PER_PIXEL = 5


def check_size(name: str, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Check the size of an image.

    Args:
        name: Name of the file in messages.
        width: Width in pixels.
        height: Height in pixels.
        max_pixels: Maximum number of pixels.

    Raises:
        ImageSizeError: The image has more than `max_pixels` pixels, or a side under `MIN_SIDE`.
    """
    if width * height > max_pixels:
        raise ImageSizeError(name, TOO_MANY_PIXELS.format(width=width, height=height, limit=max_pixels))
    if min(width, height) < MIN_SIDE:
        text = TOO_FEW_PIXELS.format(width=width, height=height, least=MIN_SIDE)
        raise ImageSizeError(name, text, Status.TOO_SMALL)


def max_bytes(max_pixels: int) -> int:
    """Return the maximum memory of reading a file of at most `max_pixels`, in bytes, including its content."""
    return BYTES_PER_PIXEL * max_pixels


def check_memory(name: str, needed: int, max_pixels: int) -> None:
    """Check the memory that decoding an image takes.

    Args:
        name: Name of the file in messages.
        needed: Memory in bytes, including the content of the file.
        max_pixels: Maximum number of pixels, from which `max_bytes` gives the limit.

    Raises:
        ImageSizeError: Decoding takes more than the limit.
    """
    allowed = max_bytes(max_pixels)
    if needed > allowed:
        raise ImageSizeError(name, TOO_MUCH_MEMORY.format(needed=needed / 1e6, limit=allowed / 1e6))
