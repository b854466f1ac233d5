"""JPEG codestreams in DICOM files whose headers describe them wrongly."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from fracture_edge.images.jpeg_header import read_header


def is_colour_jpeg(data: bytes) -> bool:
    """Return whether a codestream is an 8-bit JPEG image of three components."""
    found = read_header(data)
    return found is not None and found.is_jpeg and found.precision == 8 and found.components == 3


def grey_of_jpeg(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode an 8-bit JPEG image to grey as other JPEG files are, by its own markers.

    Args:
        data: Codestream.

    Returns:
        Luma, uint8 [H, W].
    """
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"))


def describe_jpeg(picture: Any, data: bytes) -> None:
    """Correct the description of a picture where its JPEG codestream contradicts it, in place.

    Args:
        picture: Dataset that describes the pixels.
        data: Codestream.
    """
    found = read_header(data)
    if found is None or not found.is_jpeg:
        return
    if found.precision == 8 and picture.BitsAllocated > 8:
        picture.BitsAllocated, picture.BitsStored, picture.HighBit = 8, 8, 7
    if found.has_luma and picture.PhotometricInterpretation == "RGB" and b"Adobe\0" not in data[:4096]:
        # Without Adobe's segment pydicom takes components as labelled, and would take chroma for colours.
        picture.PhotometricInterpretation = "YBR_FULL"
