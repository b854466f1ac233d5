"""DICOM pixels: modality LUT, then VOI LUT or window, then MONOCHROME1, all computed by hand."""

import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from fracture_edge.errors import ImageError, Status
from fracture_edge.images import load_image
from fracture_edge.preprocess import Preprocessing

ROWS, COLUMNS = 32, 40
RAMP = ((np.arange(ROWS * COLUMNS) % 256).reshape(ROWS, COLUMNS)).astype(np.uint8)


def dicom(pixels: npt.NDArray[np.generic], interpretation: str = "MONOCHROME2", **elements: object) -> Dataset:
    """Describe `pixels` as they are; `elements` add to the description or replace it."""
    dataset = Dataset()
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = interpretation
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def encode(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def voi_table(first: int, entries: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


DEEP = (RAMP.astype(np.uint16) * 7 + 1000).astype(np.uint16)
SIGNED = RAMP.astype(np.int16) * 7 - 900

# A window of 86 around 100 is linear from 57 (black) to 142 (white), three grey levels for one.
WINDOW = {"WindowCenter": 100, "WindowWidth": 86}


def windowed(values: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    return np.clip((values - 57) * 3, 0, 255).astype(np.uint8)


STORED = RAMP.astype(np.int64)
WINDOWED = windowed(STORED)
# Below the table's first value its first entry counts, beyond its end the last; its range is stretched by 5.
TABLE = [0, 20, 40, 51]
LOOKED_UP = np.array([0, 100, 200, 255])[np.clip(STORED - 10, 0, 3)]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (dicom(RAMP), RAMP),
        (dicom(RAMP, "MONOCHROME1"), 255 - RAMP),
        (dicom(DEEP), RAMP),
        (dicom(DEEP, "MONOCHROME1"), 255 - RAMP),
        (dicom(DEEP, BitsStored=12, HighBit=11), RAMP),
        (dicom(SIGNED), RAMP),
        (dicom(DEEP, RescaleSlope=0.5, RescaleIntercept=-20), RAMP),
        (dicom(DEEP, RescaleSlope=-1, RescaleIntercept=4095), 255 - RAMP),
        (dicom(RAMP, **WINDOW), WINDOWED),
        (dicom(RAMP, "MONOCHROME1", **WINDOW), 255 - WINDOWED),
        (dicom(RAMP.astype(np.uint16), **WINDOW), WINDOWED),
        (dicom(RAMP.astype(np.int16), **WINDOW), WINDOWED),
        (dicom(RAMP, RescaleSlope=2, RescaleIntercept=-100, **WINDOW), windowed(2 * STORED - 100)),
        (dicom(RAMP, RescaleSlope=-1, RescaleIntercept=255, **WINDOW), windowed(255 - STORED)),
        (dicom(RAMP, WindowCenter=[100, 9], WindowWidth=[86, 5]), WINDOWED),
        (dicom(RAMP, VOILUTSequence=[voi_table(10, TABLE, 8)]), LOOKED_UP),
        (dicom(RAMP, VOILUTSequence=[voi_table(10, TABLE, 8)], **WINDOW), LOOKED_UP),
        (dicom(np.dstack([RAMP] * 3), "RGB"), RAMP),
        (dicom(np.full((ROWS, COLUMNS), 9, np.uint8)), np.zeros((ROWS, COLUMNS), np.uint8)),
    ],
)
def test_grey_values(dataset: Dataset, expected: npt.NDArray[np.uint8]) -> None:
    grey = load_image(encode(dataset))
    assert (grey.dtype, grey.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(grey, expected)


def test_colours_become_luma() -> None:
    colours = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    expected = (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16
    np.testing.assert_array_equal(load_image(encode(dicom(colours, "RGB"))), expected)
    by_plane = dicom(colours, "RGB", PlanarConfiguration=1, PixelData=colours.transpose(2, 0, 1).tobytes())
    np.testing.assert_array_equal(load_image(encode(by_plane)), expected)


def test_palette() -> None:
    dataset = dicom((RAMP % 2).astype(np.uint8), "PALETTE COLOR")
    for colour, entries in (("Red", [0, 65535]), ("Green", [0, 0]), ("Blue", [0, 0])):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [2, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", np.array(entries, "<u2").tobytes())
    # The 16-bit red is stretched to 255, whose luma is 76.
    np.testing.assert_array_equal(load_image(encode(dataset)), (RAMP % 2) * 76)


def test_first_frame_of_several() -> None:
    frames = np.stack([RAMP, 255 - RAMP])
    dataset = dicom(RAMP, NumberOfFrames=2, PixelData=frames.tobytes())
    np.testing.assert_array_equal(load_image(encode(dataset)), RAMP)


def test_compressed_with_jpeg() -> None:
    blocks = np.kron(np.arange(20).reshape(4, 5) * 12, np.ones((8, 8))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).save(buffer, "JPEG")
    dataset = dicom(blocks, PixelData=encapsulate([buffer.getvalue()]))
    # One grey value per 8x8 block survives JPEG exactly; the range 0 to 228 is stretched to 0 to 255.
    expected = np.rint(blocks * (255 / 228))
    np.testing.assert_array_equal(load_image(encode(dataset, JPEGBaseline8Bit)), expected)


def test_real_monochrome1_film() -> None:
    data = Path(get_testdata_file("RG3_UNCR.dcm")).read_bytes()
    dataset = pydicom.dcmread(io.BytesIO(data))
    grey = load_image(data)
    assert (dataset.PhotometricInterpretation, grey.shape) == ("MONOCHROME1", (dataset.Rows, dataset.Columns))
    # A lower leg: half-way down, the open beam beside it and the tibia's wall (columns read off the picture).
    rows, columns = grey.shape
    beam, tibia = (grey[rows // 3, int(columns * a) : int(columns * b)] for a, b in ((0.28, 0.33), (0.46, 0.52)))
    assert beam.max() + 80 < tibia.min()
    # Brighter is denser, so the order of the stored values is turned round.
    assert np.corrcoef(grey[::8, ::8].ravel(), dataset.pixel_array[::8, ::8].ravel())[0, 1] < -0.5
    assert Preprocessing(64, 64).load(data).shape == (64, 64, 1)


@pytest.mark.parametrize(
    ("data", "status", "detail"),
    [
        (encode(dicom(RAMP[:, :31])), Status.TOO_SMALL, "31x32 pixels, under 32 on a side"),
        (
            encode(dicom(RAMP, Rows=40_000, Columns=40_000)),
            Status.TOO_LARGE,
            "40000x40000 pixels, over the limit of",
        ),
        (
            encode(dicom(RAMP, PixelData=RAMP.tobytes()[:-100])),
            Status.CORRUPT,
            "the DICOM file is broken (ValueError)",
        ),
        (encode(dicom(RAMP, BitsAllocated=7)), Status.CORRUPT, "the DICOM file is broken ("),
        (encode(dicom(RAMP))[:132] + b"\xff" * 400, Status.UNSUPPORTED_FORMAT, "a DICOM file without a picture"),
        (bytes(128) + b"DICM", Status.UNSUPPORTED_FORMAT, "a DICOM file without a picture"),
        (
            encode(dicom(RAMP, "CMYK")),
            Status.UNSUPPORTED_FORMAT,
            "photometric interpretation CMYK is not supported",
        ),
        (
            encode(dicom(RAMP, PixelData=encapsulate([b"\xff\xd8\xff\xf7"])), JPEGLSLossless),
            Status.UNSUPPORTED_FORMAT,
            "this DICOM compression cannot be decoded (",
        ),
    ],
)
def test_refused(data: bytes, status: Status, detail: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(data)
    assert (caught.value.status, caught.value.detail[: len(detail)]) == (status, detail)


def test_without_picture() -> None:
    dataset = dicom(RAMP)
    del dataset.PixelData
    with pytest.raises(ImageError, match="a DICOM file without a picture") as caught:
        load_image(encode(dataset))
    assert caught.value.status is Status.UNSUPPORTED_FORMAT


def test_pydicom_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError) as caught:
        load_image(encode(dicom(RAMP)))
    assert caught.value.status is Status.DICOM_NOT_INSTALLED
    assert caught.value.detail == "DICOM needs pydicom: pip install 'fracture-edge[dicom]'"


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "bone.png").write_bytes(encode(dicom(RAMP)))
    np.testing.assert_array_equal(load_image(tmp_path / "bone.png"), RAMP)
