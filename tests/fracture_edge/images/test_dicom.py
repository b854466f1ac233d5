"""DICOM pixels: modality LUT, then VOI LUT or window, then MONOCHROME1, all computed by hand."""

import io
import re
import sys
import warnings
from contextlib import suppress
from importlib import import_module
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
    MPEG2MPML,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fracture_edge.errors import ImageError, Status
from fracture_edge.images import dicom_frames
from fracture_edge.images.image_file import load_frames, load_image, load_picture
from fracture_edge.images.limits import MAX_FRAMES
from fracture_edge.preprocess import Preprocessing

ROWS, COLUMNS = 32, 40
RAMP = ((np.arange(ROWS * COLUMNS) % 256).reshape(ROWS, COLUMNS)).astype(np.uint8)


def dicom(pixels: npt.NDArray[np.generic], interpretation: str = "MONOCHROME2", **elements: object) -> Dataset:
    """Make a dataset that describes `pixels`; `elements` add to the description or replace it."""
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
#: PS3.3 C.11.2.1.3.1; what is reached of its range is stretched to the whole.
_CURVE = 1 / (1 + np.exp(-4 * (STORED - 100) / 86))
SIGMOID = np.rint((_CURVE - _CURVE.min()) / (_CURVE.max() - _CURVE.min()) * 255)
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
        # A window that no viewer could use is ignored.
        (dicom(RAMP, WindowCenter=100, WindowWidth=0), RAMP),
        (dicom(RAMP, WindowCenter=100), RAMP),
        (dicom(RAMP, WindowCenter=None, WindowWidth=86), RAMP),
        # Exactly linear is from 57 to 143; its values are stretched by 255 / 86.
        (dicom(RAMP, VOILUTFunction="LINEAR_EXACT", **WINDOW), np.rint(np.clip(STORED - 57, 0, 86) * (255 / 86))),
        (dicom(RAMP, VOILUTFunction="SIGMOID", **WINDOW), SIGMOID),
        # The four bits above the stored twelve are ignored; in signed values the twelfth bit is the sign.
        (dicom(DEEP | 0x9000, BitsStored=12, HighBit=11), RAMP),
        (dicom(SIGNED & 0x0FFF, BitsStored=12, HighBit=11), RAMP),
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
    # Brighter is denser, so the order of the stored values is reversed.
    assert np.corrcoef(grey[::8, ::8].ravel(), dataset.pixel_array[::8, ::8].ravel())[0, 1] < -0.5
    assert Preprocessing(64, 64).load(data).shape == (64, 64, 1)


def compressed(data: bytes, transfer_syntax: str, **elements: object) -> bytes:
    return encode(dicom(RAMP, PixelData=encapsulate([data]), **elements), transfer_syntax)


def picture(style: str, height: int = ROWS, width: int = COLUMNS, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(buffer, style, **options)
    return buffer.getvalue()


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
            "the DICOM file has fewer pixels than its header states",
        ),
        (encode(dicom(RAMP))[:-100], Status.TRUNCATED, "the DICOM file is truncated"),
        (encode(dicom(RAMP, BitsAllocated=7)), Status.CORRUPT, "the DICOM file is broken ("),
        (
            encode(dicom(RAMP))[:132] + b"\xff" * 400,
            Status.UNSUPPORTED_FORMAT,
            "the DICOM file contains no pixel data",
        ),
        (bytes(128) + b"DICM", Status.UNSUPPORTED_FORMAT, "the DICOM file contains no pixel data"),
        (
            encode(dicom(RAMP, Rows=None)),
            Status.CORRUPT,
            "the DICOM file does not say how its pixels are stored",
        ),
        (
            encode(dicom(RAMP, "CMYK")),
            Status.UNSUPPORTED_FORMAT,
            "this DICOM photometric interpretation is not supported",
        ),
        (
            encode(dicom(RAMP, PixelData=encapsulate([b"\0\0"])), MPEG2MPML),
            Status.UNSUPPORTED_FORMAT,
            "this DICOM transfer syntax is not supported",
        ),
        # The compressed image is larger than the header states.
        (
            compressed(picture("JPEG", 4000, 4000), JPEGBaseline8Bit),
            Status.CORRUPT,
            "the DICOM file holds 4000x4000 pixels, not the 40x32 that its header states",
        ),
        (
            compressed(picture("JPEG2000", 400, 300, no_jp2=True), JPEG2000Lossless),
            Status.CORRUPT,
            "the DICOM file holds 300x400 pixels, not the 40x32 that its header states",
        ),
        (compressed(picture("JPEG")[:-200], JPEGBaseline8Bit), Status.CORRUPT, "the DICOM file is broken ("),
        (compressed(b"\0\0", RLELossless), Status.CORRUPT, "the DICOM file is broken ("),
    ],
)
def test_refused(data: bytes, status: Status, detail: str) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(data)
    assert (caught.value.status, caught.value.detail[: len(detail)]) == (status, detail)


@pytest.mark.parametrize(
    ("transfer_syntax", "elements", "extra"),
    [
        (JPEGLSLossless, {}, "dicom-gpl"),
        (JPEGLosslessSV1, {}, "dicom-gpl"),
        (JPEGExtended12Bit, {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}, "dicom-gpl"),
        (HTJ2KLossless, {}, "dicom"),
    ],
)
def test_decoder_is_not_installed(
    transfer_syntax: str, elements: dict[str, int], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_frames, "_PLUGINS", ("pillow",))
    with pytest.raises(ImageError) as caught:
        load_image(compressed(b"\xff\xd8\xff\xf7", transfer_syntax, **elements))
    assert caught.value.status is Status.DECODER_NOT_INSTALLED
    assert caught.value.detail.startswith("this DICOM compression (")
    assert caught.value.detail.endswith(f") needs a decoder: pip install 'fracture-edge[{extra}]'")


def test_without_picture() -> None:
    dataset = dicom(RAMP)
    del dataset.PixelData
    with pytest.raises(ImageError, match="the DICOM file contains no pixel data") as caught:
        load_image(encode(dataset))
    assert caught.value.status is Status.UNSUPPORTED_FORMAT


def test_pydicom_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError) as caught:
        load_image(encode(dicom(RAMP)))
    assert caught.value.status is Status.DICOM_NOT_INSTALLED
    assert caught.value.detail == "DICOM needs pydicom: pip install 'fracture-edge[dicom]'"


def test_the_file_name_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "bone.png").write_bytes(encode(dicom(RAMP)))
    np.testing.assert_array_equal(load_image(tmp_path / "bone.png"), RAMP)


@pytest.mark.parametrize(
    "transfer_syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
@pytest.mark.parametrize("pixels", [RAMP, DEEP, SIGNED])
def test_transfer_syntaxes_that_do_not_compress_pixels(
    pixels: npt.NDArray[np.generic], transfer_syntax: str
) -> None:
    stored = pixels
    if transfer_syntax == ExplicitVRBigEndian:
        # 8-bit values lie in 16-bit words here.
        stored = (pixels.view(np.uint16) if pixels.itemsize == 1 else pixels).byteswap()
    dataset = dicom(pixels, PixelData=stored.tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset["PixelData"].VR = "OW"
    np.testing.assert_array_equal(load_image(encode(dataset, transfer_syntax)), RAMP)


def test_without_preamble() -> None:
    data = encode(dicom(RAMP))
    np.testing.assert_array_equal(load_image(data[132:]), RAMP)
    bare = data[data.index(b"\x08\0\x16\0UI") :]
    # The first element is the SOP class; a file begins with an earlier one.
    np.testing.assert_array_equal(load_image(b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + bare), RAMP)


@pytest.mark.parametrize(
    "missing",
    ["PhotometricInterpretation", "SamplesPerPixel", "PixelRepresentation", "BitsStored", "HighBit"],
)
def test_optional_header_elements(missing: str) -> None:
    dataset = dicom(DEEP)
    delattr(dataset, missing)
    np.testing.assert_array_equal(load_image(encode(dataset)), RAMP)


def test_luma_is_used_unchanged() -> None:
    # Its chroma would clip three in four of these colours on the way through RGB.
    stored = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
    np.testing.assert_array_equal(load_image(encode(dicom(stored, "YBR_FULL"))), RAMP)


FRAMES = np.stack([RAMP, 255 - RAMP, RAMP[::-1]])


def per_frame(**elements: object) -> Dataset:
    item, value = Dataset(), Dataset()
    for name, content in elements.items():
        setattr(value, name, content)
    sequence = "FrameVOILUTSequence" if "WindowCenter" in elements else "PixelValueTransformationSequence"
    setattr(item, sequence, [value])
    return item


def test_every_frame() -> None:
    data = encode(dicom(RAMP, NumberOfFrames=3, PixelData=FRAMES.tobytes()))
    pictures = list(load_frames(data))
    assert [(one.frame, one.frames) for one in pictures] == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_array_equal([one.pixels for one in pictures], FRAMES)
    first = load_picture(data)
    assert (first.frame, first.frames) == (0, 3)


def test_frames_that_share_bytes() -> None:
    # 1,023 pixels of one bit: the second frame begins at the last bit of a byte.
    bits = (np.arange(2 * 31 * 33) * 7919 % 11 > 5).reshape(2, 31, 33)
    bits = np.concatenate([bits, bits[:, ::-1]], axis=1)[:, :33, :]
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    dataset = dicom(
        bits[0].astype(np.uint8),
        NumberOfFrames=2,
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=packed + bytes(len(packed) % 2),
    )
    frames = [one.pixels for one in load_frames(encode(dataset))]
    np.testing.assert_array_equal(frames, bits.astype(np.uint8) * 255)


def test_every_frame_has_its_own_window() -> None:
    dataset = dicom(
        RAMP,
        NumberOfFrames=2,
        PixelData=FRAMES[[0, 0]].tobytes(),
        SharedFunctionalGroupsSequence=[per_frame(RescaleSlope=1, RescaleIntercept=0)],
        PerFrameFunctionalGroupsSequence=[per_frame(**WINDOW), per_frame(WindowCenter=128, WindowWidth=256)],
    )
    first, second = (one.pixels for one in load_frames(encode(dataset)))
    np.testing.assert_array_equal(first, WINDOWED)
    np.testing.assert_array_equal(second, RAMP)


def test_compressed_frames() -> None:
    frames = [np.full((ROWS, COLUMNS), 200, np.uint8), np.tile([[0, 100]], (ROWS, COLUMNS // 2)).astype(np.uint8)]
    encoded = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG2000", no_jp2=True)
        encoded.append(buffer.getvalue())
    dataset = dicom(RAMP, NumberOfFrames=2, PixelData=encapsulate(encoded))
    first, second = (one.pixels for one in load_frames(encode(dataset, JPEG2000Lossless)))
    assert np.unique(first).tolist() == [0]
    np.testing.assert_array_equal(second, np.tile([[0, 255]], (ROWS, COLUMNS // 2)))


def test_a_frame_that_is_missing() -> None:
    data = encode(dicom(RAMP, NumberOfFrames=3, PixelData=FRAMES[:2].tobytes()))
    frames = load_frames(data)
    np.testing.assert_array_equal([next(frames).pixels, next(frames).pixels], FRAMES[:2])
    with pytest.raises(ImageError, match="the DICOM file has fewer pixels than its header states"):
        next(frames)


def test_too_many_frames() -> None:
    data = encode(dicom(RAMP, NumberOfFrames=MAX_FRAMES + 1))
    assert load_picture(data).frames == MAX_FRAMES + 1
    with pytest.raises(ImageError, match="1,001 frames, over the limit of 1,000") as caught:
        next(load_frames(data))
    assert caught.value.status is Status.TOO_LARGE


@pytest.mark.parametrize("stem", ["693", "MR2", "RG1", "RG3", "US1"])
def test_lossless_compression_changes_nothing(stem: str) -> None:
    plain, packed = (load_image(get_testdata_file(f"{stem}_{kind}.dcm")) for kind in ("UNCR", "J2KR"))
    np.testing.assert_array_equal(packed, plain)


MARKER = "Marker"


def marked() -> Dataset:
    dataset = dicom(DEEP, **WINDOW)
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDescription", "PatientComments"):
        setattr(dataset, keyword, MARKER)
    return dataset


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_no_output_contains_the_patient(
    transfer_syntax: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encode(marked(), transfer_syntax)
    places = [match.start() for match in re.finditer(MARKER.encode(), data)]
    assert len(places) == 5
    said = []
    for start in (128, *places):
        for at in range(max(132, start - 16), start + 6):
            for value in (b"\0", b"\xff", b"S"):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    try:
                        load_image(data[:at] + value + data[at + 1 :])
                    except ImageError as error:
                        said += [str(error), repr(error.__cause__)]
                said += [str(warning.message) for warning in caught]
    assert said
    assert not [text for text in said if MARKER in text]
    assert MARKER not in caplog.text
    assert MARKER not in "".join(capfd.readouterr())


@pytest.mark.parametrize("keyword", ["PhotometricInterpretation", "VOILUTFunction"])
def test_no_value_of_the_header_is_quoted(keyword: str) -> None:
    data = encode(dicom(DEEP, **{keyword: MARKER, **WINDOW}))
    try:
        load_image(data)
    except ImageError as error:
        assert MARKER not in str(error)  # noqa: PT017


def _all_files() -> list[Path]:
    folders = [Path(pydicom.data.__file__).parent]
    with suppress(ModuleNotFoundError):
        folders.append(Path(import_module("data_store").__file__ or "").parent / "data")
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in ("", ".dcm", ".gz")
    ]


#: Of the files with a picture, those that give none, and why.
NO_ANSWER = {
    # 12-bit JPEG, JPEG-LS and JPEG Lossless can be read only if the decoder is installed.
    "JPGExtended.dcm": {"ok", Status.DECODER_NOT_INSTALLED},
    "JPEG-LL.dcm": {"ok", Status.DECODER_NOT_INSTALLED},
    "MR_small_jpeg_ls_lossless.dcm": {"ok", Status.DECODER_NOT_INSTALLED},
    "MR_truncated.dcm": {Status.TRUNCATED},
    "JPEG2000-embedded-sequence-delimiter.dcm": {Status.CORRUPT},
    "rtdose.dcm": {Status.TOO_SMALL},
    "DICOMDIR": {Status.UNSUPPORTED_FORMAT},
    "rtplan.dcm": {Status.UNSUPPORTED_FORMAT},
    "CT_small.dcm": {"ok"},
    "color3d_jpeg_baseline.dcm": {"ok"},
    "ExplVR_BigEnd.dcm": {"ok"},
    "image_dfl.dcm": {"ok"},
    "SC_rgb_jpeg.dcm": {"ok"},
}


def test_every_test_file_of_pydicom_is_read_or_has_a_status() -> None:
    seen: dict[str, str] = {}
    for path in _all_files():
        try:
            grey = load_image(path)
            seen[path.name] = "ok"
            assert grey.dtype == np.uint8
            assert min(grey.shape) >= 32
        except ImageError as error:
            seen[path.name] = error.status
    assert len(seen) > 150
    wrong = {name: seen[name] for name, expected in NO_ANSWER.items() if seen.get(name) not in expected}
    assert not {name: status for name, status in wrong.items() if name in seen}
    assert sum(status == "ok" for status in seen.values()) >= 110
