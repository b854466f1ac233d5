"""Decoding of large JPEG files at a reduced scale, which is several times faster."""

from typing import Any

#: Minimum ratio between the side of a JPEG decoded at 1/2, 1/4 or 1/8 and that of the image in the model input.
DRAFT_OVERSAMPLING = 2


def reduce_jpeg(image: Any, model_size: tuple[int, int]) -> None:
    """Let libjpeg decode at 1/2, 1/4 or 1/8, where that suffices for the model input.

    Args:
        image: JPEG file opened by Pillow and not yet decoded.
        model_size: Size of the model input, (height, width) in pixels.
    """
    height, width = model_size
    # EXIF may rotate the image later, and a stretched frame uses both sides: take the larger scale.
    longest, shortest = max(image.size), min(image.size)
    scale = min(1.0, max(height, width) / longest, min(height, width) / shortest)
    wanted = (
        max(1, int(image.width * scale * DRAFT_OVERSAMPLING)),
        max(1, int(image.height * scale * DRAFT_OVERSAMPLING)),
    )
    if image.width >= 2 * wanted[0] and image.height >= 2 * wanted[1]:
        # The luma of "YCbCr" is equal to "L", and the chroma tells whether there are colours. libjpeg does not
        # convert RGB to it.
        image.draft("YCbCr" if image.mode == "RGB" and not _is_stored_as_rgb(image) else None, wanted)


def _is_stored_as_rgb(image: Any) -> bool:
    """Return whether libjpeg takes three components for RGB (default_decompress_parms in its jdapimin.c)."""
    if "jfif" in image.info:
        return False
    transform = image.info.get("adobe_transform")
    return transform == 0 if transform is not None else bytes(layer[0] for layer in image.layer) == b"RGB"
