"""DICOM files of several frames."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

SIDE = 64


def _frame(white_rows: int) -> npt.NDArray[np.uint8]:
    frame = np.zeros((SIDE, SIDE), np.uint8)
    frame[:white_rows] = 255
    return frame


def _write_cine(path: Path, white_rows: Sequence[int], *, frames: int | None = None) -> Path:
    """Write one frame of 64 x 64 pixels for each number: so many of its rows are white, the others black.

    The header states `frames`, or the actual number of frames.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3"
    dataset.Rows = dataset.Columns = SIDE
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.NumberOfFrames = frames or len(white_rows)
    dataset.PixelData = b"".join(_frame(rows).tobytes() for rows in white_rows)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="session")
def write_cine() -> Callable[..., Path]:
    return _write_cine
