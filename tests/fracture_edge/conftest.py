"""DICOM files: cine loops, and radiographs of a patient."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


#: SOP Class UIDs by modality, "multi" with several frames: a multi-frame secondary capture.
SOP_CLASSES = {
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
    "OT": "1.2.840.10008.5.1.4.1.1.7.2",
}


def _write_radiograph(
    path: Path,
    pixels: npt.NDArray[np.uint8],
    *,
    modality: str = "CR",
    patient: bytes = b"Roe^Jane",
    patient_id: bytes = b"ID-4711",
    charset: bytes = b"ISO_IR 100",
    uids: Sequence[str] = ("1.2.3.1", "1.2.3.2", "1.2.3.3"),
    syntax: str = "1.2.840.10008.1.2.1",
    **changes: Any,
) -> Path:
    """Write a radiograph of a patient, [H, W] or [frames, H, W]; `uids` are those of study, series and instance.

    A change to ``None`` leaves the element out.
    """
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.tag import Tag

    frames = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    dataset = Dataset()
    for tag, kind, value in (
        (0x00080005, "CS", charset),
        (0x00100010, "PN", patient),
        (0x00100020, "LO", patient_id),
        (0x00100030, "DA", b"19700101"),
        (0x00100040, "CS", b"F"),
    ):
        padded = value + b" " * (len(value) % 2)
        dataset[Tag(tag)] = RawDataElement(Tag(tag), kind, len(padded), padded, 0, False, True)
    dataset.SOPClassUID = SOP_CLASSES[modality]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uids
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = (
        "20260101",
        "120000",
        "A1",
        "S1",
    )
    dataset.ReferringPhysicianName = "Doe^John"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 1, 7
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    data = frames.tobytes() + b"\0" * (frames.size % 2)
    # Bytes of 8-bit pixels lie in words.
    dataset.PixelData = np.frombuffer(data, np.uint16).byteswap().tobytes() if syntax == BIG_ENDIAN else data
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if not dataset.file_meta.TransferSyntaxUID.is_implicit_VR:
        # Or pydicom would decode the patient's name and encode it again.
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        dataset.set_original_encoding(False, little, dataset._character_set)
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax in COMPRESSED:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


BIG_ENDIAN = "1.2.840.10008.1.2.2"
#: Compressed transfer syntaxes that pydicom writes without a further package: RLE Lossless.
COMPRESSED = ("1.2.840.10008.1.2.5",)


@pytest.fixture(scope="session")
def write_radiograph() -> Callable[..., Path]:
    return _write_radiograph
