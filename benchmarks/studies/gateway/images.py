"""Generated radiographs of patients with random names, in several transfer syntaxes."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
#: Options with which dcmtk's storescu proposes a transfer syntax, by UID.
PROPOSALS = {
    "1.2.840.10008.1.2": "--propose-implicit",
    "1.2.840.10008.1.2.1": "--propose-little",
    "1.2.840.10008.1.2.2": "--propose-big",
    "1.2.840.10008.1.2.1.99": "--propose-deflated",
    "1.2.840.10008.1.2.5": "--propose-rle",
    "1.2.840.10008.1.2.4.90": "--propose-j2k-lossless",
}
_COMPRESSED = ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90")
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


class SentImage(NamedTuple):
    """Generated image.

    Attributes:
        path: Path of its file.
        study: Study Instance UID.
        instance: SOP Instance UID.
        secrets: Name and ID of its patient, which may appear in no message.
        syntax: Transfer syntax UID.
    """

    path: Path
    study: str
    instance: str
    secrets: tuple[str, str]
    syntax: str


def write_images(
    folder: Path, number: int, random: Random, *, size: tuple[int, int] = (800, 600), syntaxes: Sequence[str] = ()
) -> list[SentImage]:
    """Write images of 12 bits, each of another patient, with new UIDs.

    Args:
        folder: Folder for the files; created.
        number: Number of images.
        random: Source of names and pictures.
        size: Size (height, width) in pixels.
        syntaxes: Transfer syntaxes, in turns; all of `PROPOSALS` if empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds = list(syntaxes or PROPOSALS)
    return [_write(folder, index, random, size, kinds[index % len(kinds)]) for index in range(number)]


def new_uid() -> str:
    """Return a UID that nobody has used (PS3.5, annex B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def _write(folder: Path, index: int, random: Random, size: tuple[int, int], syntax: str) -> SentImage:
    from pydicom.dataset import Dataset, FileMetaDataset

    word = "".join(random.choices(_LETTERS, k=12))
    secrets = (word, f"ID{random.randrange(10**12):012}")
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = COMPUTED_RADIOGRAPHY, new_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
    dataset.PatientName, dataset.PatientID = f"{word}^Given", secrets[1]
    dataset.PatientBirthDate, dataset.PatientSex = "19600229", "O"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20260101", "101500", "1", "1"
    dataset.ReferringPhysicianName, dataset.Modality, dataset.Manufacturer = "", "CR", "generated"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.BodyPartExamined = 1, 1, "HAND"
    dataset.Rows, dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = _bone(random, size).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1" if syntax in _COMPRESSED else syntax
    if syntax in _COMPRESSED:
        dataset.compress(syntax, generate_instance_uid=False)
    elif not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    path = folder / f"{index:04}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return SentImage(path, dataset.StudyInstanceUID, dataset.SOPInstanceUID, secrets, syntax)


def _bone(random: Random, size: tuple[int, int]) -> np.ndarray:
    """Draw a bright shaft in soft tissue, of 12 bits; contrast and noise differ, and so do the probabilities."""
    rng = np.random.default_rng(random.randrange(2**32))
    rows, columns = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    distance = np.abs(columns - random.uniform(-0.2, 0.2) - random.uniform(-0.3, 0.3) * rows)
    shaft = np.exp(-((distance / random.uniform(0.1, 0.2)) ** 4))
    gap = 1 - random.random() * np.exp(-(((rows - random.uniform(-0.5, 0.5)) / 0.02) ** 2))
    picture = 300 + 900 * np.exp(-((distance / 0.6) ** 2)) + random.uniform(800, 2500) * shaft * gap
    return np.clip(picture + rng.normal(0, 40, size), 0, 4095)
