"""How large a picture may be, judged by what its header states, before anything is decoded."""

from fracture_edge.errors import ImageSizeError, Status

#: The largest film scanners and flat panels stay under 45 megapixels.
MAX_PIXELS = 50_000_000
#: Below this no bone can be made out, whatever the network says.
MIN_SIDE = 32
#: Frames of one file; a cine run of a minute at 15 frames per second has 900.
MAX_FRAMES = 1000
#: Bytes that reading one file may hold for each pixel that is allowed: the file, what the decoder needs and
#: the grey result. An 8-bit colour image takes 5 beside its file; 50 megapixels are 250 MB then.
BYTES_PER_PIXEL = 5


def check_size(name: str, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a picture by its size.

    Args:
        name: What the message calls the file.
        width: Columns.
        height: Rows.
        max_pixels: The most there may be.

    Raises:
        ImageSizeError: More than `max_pixels`, or a side under `MIN_SIDE`.
    """
    if width * height > max_pixels:
        raise ImageSizeError(name, f"{width}x{height} pixels, over the limit of {max_pixels:,}")
    if min(width, height) < MIN_SIDE:
        raise ImageSizeError(name, f"{width}x{height} pixels, under {MIN_SIDE} on a side", Status.TOO_SMALL)


def max_bytes(max_pixels: int) -> int:
    """Bytes that reading one file may hold at once, its own included."""
    return BYTES_PER_PIXEL * max_pixels


def check_memory(name: str, needed: int, max_pixels: int) -> None:
    """Refuse a picture by the memory that decoding it takes.

    Args:
        name: What the message calls the file.
        needed: Bytes, the file's own included.
        max_pixels: The limit that `max_bytes` follows from.

    Raises:
        ImageSizeError: More than `max_bytes`.
    """
    allowed = max_bytes(max_pixels)
    if needed > allowed:
        raise ImageSizeError(
            name, f"takes {needed / 1e6:,.0f} MB to decode, over the limit of {allowed / 1e6:,.0f} MB"
        )
