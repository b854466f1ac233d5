"""DICOM files with odd headers and odd tables give the pixels that they mean."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from fracture_edge.errors import ImageError, Status
from fracture_edge.images.dicom_header import read_numbers
from fracture_edge.images.image_file import load_image, load_picture
from fracture_edge.images.jpeg_header import complete_scan

ROWS, COLUMNS = 32, 40
RAMP = (np.arange(ROWS * COLUMNS) % 256).astype(np.uint8).reshape(ROWS, COLUMNS)
STORED = RAMP.astype(np.int64)
DEEP = (RAMP.astype(np.uint16) * 7 + 1000).astype(np.uint16)
SIGNED = RAMP.astype(np.int16) * 7 - 900
#: One grey value per 8x8 block, which JPEG keeps exactly, from black to white.
BLOCKS = np.kron(np.linspace(0, 255, 20).astype(int).reshape(4, 5), np.ones((8, 8))).astype(np.uint8)
WINDOW = {"WindowCenter": 100, "WindowWidth": 86}
WINDOWED = np.clip((STORED - 57) * 3, 0, 255)
GROUP = {"Columns": 0x0011, "WindowCenter": 0x1050, "WindowWidth": 0x1051, "RescaleSlope": 0x1053}


def dicom(pixels: npt.NDArray[Any], interpretation: str = "MONOCHROME2", **elements: Any) -> Dataset:
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
        if isinstance(value, bytes) and name != "PixelData":
            # As it stands in a file, right or wrong.
            element = RawDataElement(Tag(name), _vr(name), len(value), value, 0, False, True)
            dataset._dict[Tag(name)] = element  # type: ignore[index]
        elif value is None:
            dataset.pop(name, None)
        else:
            setattr(dataset, name, value)
    return dataset


def _vr(name: str) -> str:
    from pydicom.datadict import dictionary_VR

    return "US" if " " in dictionary_VR(name) else dictionary_VR(name)


def encode(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"RescaleSlope": b"", "RescaleIntercept": b""}, RAMP),
        ({"RescaleSlope": b"2\\1 ", "RescaleIntercept": b"5\\0 "}, RAMP),
        ({"RescaleSlope": b"-1,5 ", "RescaleIntercept": b"0 "}, 255 - RAMP),
        # The intercept is 0 if it is absent, and a slope of 0 is none.
        ({"RescaleSlope": b"-2"}, 255 - RAMP),
        ({"RescaleSlope": b"0 "}, RAMP),
        ({"RescaleSlope": b"nan ", "RescaleIntercept": b"x "}, RAMP),
        ({"WindowCenter": b"100,0 ", "WindowWidth": b"86,0"}, WINDOWED),
        ({"WindowCenter": b" 100\0", "WindowWidth": b"86\\4\\"}, WINDOWED),
        ({"WindowCenter": b"", "WindowWidth": b"86"}, RAMP),
        ({"VOILUTFunction": b"", **WINDOW}, WINDOWED),
        ({"VOILUTFunction": b"FOO ", **WINDOW}, WINDOWED),
        ({"VOILUTFunction": b"linear", **WINDOW}, WINDOWED),
        ({"PhotometricInterpretation": b""}, RAMP),
        ({"PhotometricInterpretation": b"monochrome1 "}, 255 - RAMP),
        ({"PhotometricInterpretation": b" MONOCHROME1"}, 255 - RAMP),
        ({"SamplesPerPixel": b""}, RAMP),
        ({"BitsStored": b""}, RAMP),
        ({"HighBit": b""}, RAMP),
        ({"HighBit": struct.pack("<H", 99)}, RAMP),
        ({"PixelRepresentation": b""}, RAMP),
        ({"PixelRepresentation": struct.pack("<H", 7)}, RAMP),
        ({"NumberOfFrames": b""}, RAMP),
        ({"NumberOfFrames": b"1\\1 "}, RAMP),
        ({"ModalityLUTSequence": [Dataset()]}, RAMP),
        ({"VOILUTSequence": [Dataset()], **WINDOW}, WINDOWED),
        ({"ModalityLUTSequence": []}, RAMP),
        ({"PixelPaddingValue": b""}, RAMP),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_elements_that_are_written_wrongly(
    elements: dict[str, Any], expected: npt.NDArray[Any], syntax: str
) -> None:
    np.testing.assert_array_equal(load_image(encode(dicom(RAMP, **elements), syntax)), expected)


def test_bits_stored_follow_from_the_high_bit() -> None:
    dataset = dicom(DEEP | 0x9000, BitsStored=b"", HighBit=11)
    np.testing.assert_array_equal(load_image(encode(dataset)), RAMP)


def test_unknown_interpretation_is_refused() -> None:
    with pytest.raises(ImageError, match="photometric interpretation is not supported") as caught:
        load_image(encode(dicom(RAMP, PhotometricInterpretation=b"GREY")))
    assert caught.value.status is Status.UNSUPPORTED_FORMAT


def test_missing_bits_allocated() -> None:
    with pytest.raises(ImageError, match="does not say how its pixels are stored"):
        load_image(encode(dicom(RAMP, BitsAllocated=b"")))


def test_window_under_one() -> None:
    # Values become 0 to 1 by the slope; the window shows 0.25 to 0.75.
    elements = {"RescaleSlope": 1 / 255, "RescaleIntercept": 0, "WindowCenter": 0.5, "WindowWidth": 0.5}
    expected = np.rint(np.clip(STORED / 255 * 2 - 0.5, 0, 1) * 255)
    found = load_image(encode(dicom(RAMP, **elements))).astype(int)
    # The slope is written with 16 characters, so a level on the border of two may fall to the other.
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("start", [b"\x08\0\x16\0UI", b"\x02\0\x10\0UI"])
def test_data_set_without_preamble(start: bytes) -> None:
    data = encode(dicom(DEEP))
    np.testing.assert_array_equal(load_image(data[data.index(start) :]), RAMP)


def test_implicit_data_set_without_preamble() -> None:
    data = encode(dicom(DEEP), ImplicitVRLittleEndian)
    bare = data[data.index(b"\x08\0\x16\0" + struct.pack("<I", len(DigitalXRayImageStorageForPresentation) + 1)) :]
    np.testing.assert_array_equal(load_image(bare), RAMP)


@pytest.mark.parametrize("start", [b"\x08\0hello world", b"\x08\0\x16\0\xff\xff\xff\xff"])
def test_what_only_begins_alike_is_no_dicom(start: bytes) -> None:
    with pytest.raises(ImageError, match="not a PNG, JPEG"):
        load_image(start + bytes(200))


def table(entries: list[int], first: int, bits: int, *, packed: bool = False, words: bool = False) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first & 0xFFFF, bits])
    if words:
        item.add_new("LUTData", "US", entries)
    else:
        item.add_new("LUTData", "OW", np.array(entries, np.uint8 if packed else "<u2").tobytes())
    return item


#: A table that inverts: 4,096 entries, of 8 bits from 255 to 0, of 9 bits from 511 to 0.
LONG = 4096
INVERT_8 = [255 - entry * 255 // (LONG - 1) for entry in range(LONG)]
INVERT_9 = [511 - entry * 511 // (LONG - 1) for entry in range(LONG)]


def stretched(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    low, high = values.min(), values.max()
    return np.rint((values - low) * (255.0 / (high - low)))


@pytest.mark.parametrize(
    ("item", "entries"),
    [
        (table(INVERT_8, 0, 8, packed=True), INVERT_8),
        (table(INVERT_8, 0, 8), INVERT_8),
        (table(INVERT_8, 0, 8, words=True), INVERT_8),
        (table(INVERT_9, 0, 9), INVERT_9),
        (table(INVERT_9, 0, 9, words=True), INVERT_9),
        (table(INVERT_8, 0, 16), INVERT_8),
    ],
)
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_long_tables(item: Dataset, entries: list[int], sequence: str) -> None:
    expected = stretched(np.array(entries)[DEEP])
    dataset = dicom(DEEP, BitsStored=12, HighBit=11, **{sequence: [item]})
    np.testing.assert_array_equal(load_image(encode(dataset)), expected)


def test_two_entries_in_a_word() -> None:
    words = np.array(INVERT_8, np.uint8).view("<u2").tolist()
    item = table(INVERT_8, 0, 8)
    item.add_new("LUTData", "US", words)
    dataset = dicom(DEEP, BitsStored=12, HighBit=11, VOILUTSequence=[item])
    np.testing.assert_array_equal(load_image(encode(dataset)), stretched(np.array(INVERT_8)[DEEP]))


def test_table_in_big_endian_order() -> None:
    item = table(INVERT_9, 0, 9)
    item.add_new("LUTData", "OW", np.array(INVERT_9, ">u2").tobytes())
    dataset = dicom(DEEP, BitsStored=12, HighBit=11, VOILUTSequence=[item], PixelData=DEEP.byteswap().tobytes())
    dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(
        load_image(encode(dataset, ExplicitVRBigEndian)), stretched(np.array(INVERT_9)[DEEP])
    )


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_first_value_of_signed_pixels_that_is_written_as_unsigned(sequence: str) -> None:
    dataset = dicom(SIGNED, **{sequence: [table(INVERT_9, -2048, 9)]})
    np.testing.assert_array_equal(load_image(encode(dataset)), stretched(np.array(INVERT_9)[SIGNED + 2048]))


def test_table_of_unsigned_pixels_that_begins_high() -> None:
    high = DEEP + np.uint16(40_000)
    dataset = dicom(high, VOILUTSequence=[table(INVERT_9, 40_000, 9)])
    np.testing.assert_array_equal(load_image(encode(dataset)), stretched(np.array(INVERT_9)[DEEP]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_samples_at_the_upper_end_of_their_words(syntax: str) -> None:
    # The lower four bits are none of the picture's.
    dataset = dicom(DEEP << 4 | 0x5, BitsStored=12, HighBit=15)
    if syntax == RLELossless:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.BitsStored = 16
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.BitsStored, dataset.HighBit = 12, 15
    np.testing.assert_array_equal(load_image(encode(dataset, syntax)), RAMP)


def test_signed_samples_at_the_upper_end_of_their_words() -> None:
    dataset = dicom(SIGNED << 4 | 0x3, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(load_image(encode(dataset)), RAMP)


#: The lower left corner is padding.
CORNER = np.zeros((ROWS, COLUMNS), np.bool_)
CORNER[20:, :12] = True


@pytest.mark.parametrize(
    ("pixels", "value", "elements"),
    [
        (DEEP, 65535, {}),
        (DEEP, 0, {}),
        (DEEP, 2000, {}),
        (SIGNED, -2000, {}),
        # Written as unsigned, though the pixels are signed.
        (SIGNED, -2000, {"PixelPaddingValue": struct.pack("<H", 65536 - 2000)}),
        # Above the stored bits.
        (DEEP, 65535, {"BitsStored": 12, "HighBit": 11}),
        (DEEP.astype(np.uint32), 65535, {}),
    ],
)
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_range(
    pixels: npt.NDArray[Any], value: int, elements: dict[str, Any], interpretation: str
) -> None:
    padded = np.where(CORNER, value, pixels).astype(pixels.dtype)
    stated = {"PixelPaddingValue": struct.pack("<H" if value >= 0 else "<h", value)}
    grey = load_image(encode(dicom(padded, interpretation, **stated | elements)))
    shown = RAMP if interpretation == "MONOCHROME2" else 255 - RAMP
    hidden = padded == value
    assert (grey[hidden] == 0).all()
    np.testing.assert_array_equal(grey[~hidden], shown[~hidden])


def test_range_of_padding() -> None:
    padded = np.where(CORNER, 5000 + STORED, DEEP).astype(np.uint16)
    for ends in ((5000, 5300), (5300, 5000)):
        limits = dict(zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), ends, strict=True))
        grey = load_image(encode(dicom(padded, **{k: struct.pack("<H", v) for k, v in limits.items()})))
        np.testing.assert_array_equal(grey, np.where(CORNER, 0, RAMP))


def test_padding_with_a_window() -> None:
    padded = np.where(CORNER, 255, np.minimum(RAMP, 200)).astype(np.uint8)
    grey = load_image(encode(dicom(padded, PixelPaddingValue=struct.pack("<H", 255), **WINDOW)))
    np.testing.assert_array_equal(grey, np.where(CORNER, 0, WINDOWED))


def test_nothing_but_padding() -> None:
    grey = load_image(encode(dicom(np.full((ROWS, COLUMNS), 9, np.uint16), PixelPaddingValue=b"\x09\0")))
    assert (grey == 0).all()


def test_hot_pixel_without_and_with_a_window() -> None:
    hot = DEEP.copy()
    hot[0, 0] = 60_000
    grey = load_image(encode(dicom(hot)))
    np.testing.assert_array_equal(grey.ravel()[1:], RAMP.ravel()[1:])
    windowed = load_image(encode(dicom(hot, WindowCenter=32768, WindowWidth=65536)))
    # What a window shows is not changed.
    assert windowed.ravel()[1:].max() < 15


def jpeg(pixels: npt.NDArray[Any] | Image.Image, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=100, **options)
    return buffer.getvalue()


def without_jfif(data: bytes) -> bytes:
    at = data.index(b"\xff\xe0")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


COLOURED_BLOCKS = np.dstack([BLOCKS, BLOCKS // 2, 255 - BLOCKS])
LUMA = np.asarray(Image.fromarray(COLOURED_BLOCKS).convert("L")).astype(int)


def test_eight_bit_jpeg_in_words() -> None:
    data = jpeg(BLOCKS)
    dataset = dicom(DEEP, BitsStored=8, HighBit=7, PixelData=encapsulate([data]))
    np.testing.assert_array_equal(load_image(encode(dataset, JPEGBaseline8Bit)), BLOCKS)


def test_colour_jpeg_under_a_grey_header() -> None:
    dataset = dicom(BLOCKS, PixelData=encapsulate([jpeg(np.dstack([BLOCKS] * 3))]))
    np.testing.assert_array_equal(load_image(encode(dataset, JPEGBaseline8Bit)), BLOCKS)
    inverted = dicom(BLOCKS, "MONOCHROME1", PixelData=encapsulate([jpeg(np.dstack([BLOCKS] * 3))]))
    np.testing.assert_array_equal(load_image(encode(inverted, JPEGBaseline8Bit)), 255 - BLOCKS)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("jfif", [True, False])
def test_luma_and_chroma_under_the_name_of_rgb(subsampling: int, jfif: bool) -> None:
    data = jpeg(COLOURED_BLOCKS, subsampling=subsampling)
    data = data if jfif else without_jfif(data)
    dataset = dicom(COLOURED_BLOCKS, "RGB", PixelData=encapsulate([data]))
    found = load_image(encode(dataset, JPEGBaseline8Bit)).astype(int)
    # The luma of the stored blocks, up to what JPEG rounds.
    assert np.abs(found - LUMA).max() <= 1


def test_rgb_in_jpeg() -> None:
    # Adobe's segment says that the components are colours; one quantisation serves all of them.
    data = jpeg(COLOURED_BLOCKS, keep_rgb=True)
    dataset = dicom(COLOURED_BLOCKS, "RGB", PixelData=encapsulate([data]))
    assert np.abs(load_image(encode(dataset, JPEGBaseline8Bit)).astype(int) - LUMA).max() <= 1


def test_scan_without_spectral_selection() -> None:
    data = jpeg(BLOCKS)
    at = data.index(b"\xff\xda")
    end = at + 4 + 2 + 2 * data[at + 4]
    assert data[end - 1 : end + 2] == b"\0\x3f\0"
    old = data[:end] + b"\0" + data[end + 1 :]
    assert complete_scan(old) == data
    assert complete_scan(data) is data
    progressive = jpeg(BLOCKS, progressive=True)
    assert complete_scan(progressive) is progressive
    dataset = dicom(BLOCKS, PixelData=encapsulate([old]))
    np.testing.assert_array_equal(load_image(encode(dataset, JPEGBaseline8Bit)), BLOCKS)


def test_scan_of_12_bits_without_spectral_selection() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pytest.importorskip("libjpeg")
    blocks = BLOCKS.astype(np.uint16) * 14 + 300
    data = imagecodecs.jpeg_encode(blocks, level=100, bitspersample=12)
    at = data.index(b"\xff\xda")
    end = at + 4 + 2 + 2 * data[at + 4]
    old = data[:end] + b"\0" + data[end + 1 :]
    dataset = dicom(blocks, BitsStored=12, HighBit=11, PixelData=encapsulate([old]))
    found = load_image(encode(dataset, JPEGExtended12Bit)).astype(int)
    assert np.abs(found - BLOCKS).max() <= 1


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, 1.0),
        ({"PixelSpacing": b"0.3\\0.2 "}, 1.5),
        ({"ImagerPixelSpacing": b"0,3\\0,2 "}, 1.5),
        ({"NominalScannedPixelSpacing": b"0.2\\0.3 "}, 2 / 3),
        ({"PixelAspectRatio": b"3\\2 "}, 1.5),
        # The first that is plausible counts.
        ({"PixelSpacing": b"0.3\\0.2 ", "ImagerPixelSpacing": b"0.1\\0.1 "}, 1.5),
        ({"PixelSpacing": b"", "ImagerPixelSpacing": b"0.3\\0.2 "}, 1.5),
        ({"PixelSpacing": b"0\\0.2 ", "PixelAspectRatio": b"3\\2 "}, 1.5),
        ({"PixelSpacing": b"nan\\1 "}, 1.0),
        ({"PixelSpacing": b"-1\\1"}, 1.0),
        ({"PixelSpacing": b"0.3"}, 1.0),
        # Rounded values of square pixels.
        ({"PixelSpacing": b"0.1430\\0.1432 "}, 1.0),
    ],
)
def test_aspect(elements: dict[str, bytes], expected: float) -> None:
    picture = load_picture(encode(dicom(RAMP, **elements)))
    assert picture.aspect == pytest.approx(expected)
    np.testing.assert_array_equal(picture.pixels, RAMP)


def test_aspect_in_functional_groups() -> None:
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [0.6, 0.4]
    group.PixelMeasuresSequence = [measures]
    picture = load_picture(encode(dicom(RAMP, SharedFunctionalGroupsSequence=[group])))
    assert picture.aspect == pytest.approx(1.5)


def test_read_numbers() -> None:
    dataset = Dataset()
    dataset.RescaleSlope = "1.5"
    dataset.WindowCenter = [1, 2]
    dataset.Rows = 7
    assert [read_numbers(dataset, name) for name in ("RescaleSlope", "WindowCenter", "Rows", "Columns")] == [
        [1.5],
        [1, 2],
        [7],
        [],
    ]
    assert read_numbers(dataset, "NoSuchKeyword") == []
