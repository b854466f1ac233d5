"""DICOM pixels as radiology shows them: modality LUT, then VOI LUT or window, then MONOCHROME1 inversion.

Needs pydicom (`pip install 'fracture-edge[dicom]'`). Nothing of the header but the pixel description is
looked at, and nothing of it is kept.
"""

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fracture_edge.errors import ImageCorruptError, ImageError, ImageFormatError, Status
from fracture_edge.images import check_size, stretch

_GREY = ("MONOCHROME1", "MONOCHROME2")


def read_dicom(name: str, data: bytes) -> npt.NDArray[np.uint8]:
    """Decode the first frame of a DICOM file as grey, bright is dense.

    Args:
        name: What messages call the file.
        data: The file's bytes.

    Returns:
        uint8, shape [H, W].

    Raises:
        ImageFormatError: pydicom is not installed, there is no picture inside, or its compression needs a
            decoder that is not installed.
        ImageCorruptError: The pixels do not fit their description.
        ImageSizeError: Too many pixels, or too few.
    """
    try:
        import pydicom
        from pydicom import pixels
    except ImportError as error:
        raise ImageFormatError(
            name,
            "DICOM needs pydicom: pip install 'fracture-edge[dicom]'",
            Status.DICOM_NOT_INSTALLED,
        ) from error
    try:
        # pydicom warns of every irregularity in a header; the answer or the error below says what matters.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data))
            return _grey(name, dataset, pixels)
    except (ImageError, MemoryError, ImportError):
        raise
    except (RuntimeError, NotImplementedError) as error:
        # pydicom's word for a transfer syntax without an installed decoder.
        raise ImageFormatError(name, f"this DICOM compression cannot be decoded ({error})") from error
    except Exception as error:
        raise ImageCorruptError(name, f"the DICOM file is broken ({type(error).__name__})") from error


def _grey(name: str, dataset: Any, pixels: Any) -> npt.NDArray[np.uint8]:
    if "PixelData" not in dataset:
        raise ImageFormatError(name, "a DICOM file without a picture")
    check_size(name, int(dataset.Columns), int(dataset.Rows))
    values = pixels.pixel_array(dataset, index=0)
    interpretation = str(dataset.PhotometricInterpretation)
    if interpretation == "PALETTE COLOR":
        values = pixels.apply_color_lut(values, dataset)
    if interpretation not in _GREY:
        if values.ndim != 3:
            raise ImageFormatError(name, f"photometric interpretation {interpretation} is not supported")
        # pydicom has made YBR to RGB already; the values are 8 or 16 bit.
        colours = values if values.dtype == np.uint8 else stretch(values)
        return np.ascontiguousarray(np.asarray(Image.fromarray(colours).convert("L")))
    windowed = pixels.apply_voi_lut(pixels.apply_modality_lut(values, dataset), dataset, index=0)
    # The window saturates what lies outside of it; what is left is the range a display would show.
    grey = stretch(windowed)
    inverted = interpretation == "MONOCHROME1"
    if _window_turned_round(dataset):
        inverted = not inverted
    return np.invert(grey) if inverted else grey


def _window_turned_round(dataset: Any) -> bool:
    """Whether pydicom's window came out inverted, as it does where the rescale slope is negative."""
    windowed = "WindowCenter" in dataset and "VOILUTSequence" not in dataset
    return windowed and float(dataset.get("RescaleSlope", 1)) < 0
