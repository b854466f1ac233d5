"""Which parts of a file show that it is complete: the end mark, the lengths, no long run of zeros."""

import hashlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL import __version__ as pillow_version

from fracture_edge.batch.completeness import inspect, is_complete

Grey = npt.NDArray[np.uint8]
Write = Callable[[Grey], bytes]


def pillow(style: str, **options: object) -> Write:
    def write(grey: Grey) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(grey).save(stream, style, **options)
        return stream.getvalue()

    return write


def with_thumbnail(grey: Grey) -> bytes:
    """JPEG whose EXIF segment holds a complete small JPEG, as cameras write it."""
    small, whole = pillow("JPEG")(grey[:32, :32]), pillow("JPEG")(grey)
    return whole[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + whole[2:]


def big_endian_tiff(grey: Grey) -> bytes:
    """TIFF in big-endian order with its pixels after the directory, in two strips."""
    half = len(grey) // 2 * grey.shape[1]
    entries = [(256, 3, 1, grey.shape[1] << 16), (257, 3, 1, len(grey) << 16), (258, 3, 1, 8 << 16)]
    entries += [(259, 3, 1, 1 << 16), (262, 3, 1, 1 << 16), (273, 4, 2, 110), (279, 4, 2, 118)]
    entries += [(278, 3, 1, len(grey) // 2 << 16)]
    entries.sort()
    directory = len(entries).to_bytes(2, "big") + b"".join(
        tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + count.to_bytes(4, "big") + value.to_bytes(4, "big")
        for tag, kind, count, value in entries
    )
    start = b"MM\0*\0\0\0\x08" + directory + bytes(4)
    assert len(start) == 110
    numbers = (126, 126 + half, half, half)
    return start + b"".join(number.to_bytes(4, "big") for number in numbers) + grey.tobytes()


def dicom(*, encapsulated: bool = False, implicit: bool = False, deflated: bool = False) -> Write:
    def write(grey: Grey) -> bytes:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.encaps import encapsulate
        from pydicom.uid import (
            DeflatedExplicitVRLittleEndian,
            DigitalXRayImageStorageForPresentation,
            ExplicitVRLittleEndian,
            ImplicitVRLittleEndian,
            JPEGBaseline8Bit,
        )

        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
        dataset.Rows, dataset.Columns = grey.shape
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = encapsulate([pillow("JPEG")(grey)]) if encapsulated else grey.tobytes()
        dataset["PixelData"].VR = "OB" if encapsulated else "OW"
        dataset["PixelData"].is_undefined_length = encapsulated
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = (
            JPEGBaseline8Bit
            if encapsulated
            else ImplicitVRLittleEndian
            if implicit
            else DeflatedExplicitVRLittleEndian
            if deflated
            else ExplicitVRLittleEndian
        )
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()

    return write


WRITERS: dict[str, Write] = {
    "png": pillow("PNG"),
    "jpeg": pillow("JPEG"),
    "progressive jpeg": pillow("JPEG", progressive=True),
    "jpeg with restart markers": pillow("JPEG", restart_marker_blocks=2),
    "jpeg with a thumbnail": with_thumbnail,
    "bmp": pillow("BMP"),
    "webp": pillow("WEBP"),
    "tiff": pillow("TIFF"),
    "lzw tiff": pillow("TIFF", compression="tiff_lzw"),
    "big-endian tiff": big_endian_tiff,
    "dicom": dicom(),
    "implicit dicom": dicom(implicit=True),
    "compressed dicom": dicom(encapsulated=True),
}
if tuple(map(int, pillow_version.split(".")[:2])) >= (11, 2):
    # Pillow 11.1 wrote it wrong.
    WRITERS["bigtiff"] = pillow("TIFF", big_tiff=True)


@pytest.fixture(scope="module")
def grey() -> Grey:
    return np.random.default_rng(0).integers(1, 256, (160, 128), np.uint8)


@pytest.mark.parametrize("kind", WRITERS)
def test_whole_file_is_complete(kind: str, grey: Grey) -> None:
    assert is_complete(WRITERS[kind](grey))


@pytest.mark.parametrize("kind", WRITERS)
def test_no_shorter_file_is_complete(kind: str, grey: Grey) -> None:
    whole = WRITERS[kind](grey)
    # The value ends in the last word of a TIFF directory, whose zeros follow the strips of some of these files.
    ends = {*range(0, len(whole) - 8, 97), len(whole) // 2, len(whole) - 9}
    assert [end for end in sorted(ends) if is_complete(whole[:end])] == []


@pytest.mark.parametrize("kind", WRITERS)
def test_reserved_file_is_not_complete(kind: str, grey: Grey) -> None:
    whole = WRITERS[kind](grey)
    ends = [0, 1, 132, *range(200, len(whole) - 8, 301), len(whole) - 8]
    assert [end for end in ends if is_complete(whole[:end] + bytes(len(whole) - end))] == []


@pytest.mark.parametrize("kind", WRITERS)
def test_missing_page_is_noticed(kind: str) -> None:
    # Network file systems write pages in any order.
    whole = WRITERS[kind](np.random.default_rng(1).integers(1, 256, (256, 256), np.uint8))
    assert is_complete(whole)
    for page in range(4096, len(whole) - 8192, 4096):
        assert not is_complete(whole[:page] + bytes(4096) + whole[page + 4096 :])


@pytest.mark.parametrize(("kind", "expected"), [("png", True), ("dicom", False), ("tiff", False), ("bmp", False)])
def test_black_lower_half_shows_nothing_in_uncompressed_pixels(kind: str, expected: bool, grey: Grey) -> None:
    black = grey.copy()
    black[80:] = 0
    # BMP stores the last row first.
    assert is_complete(WRITERS[kind](black[::-1] if kind == "bmp" else black)) is expected


def test_chunk_of_a_png_with_a_wrong_byte(grey: Grey) -> None:
    whole = bytearray(WRITERS["png"](grey))
    whole[len(whole) // 2] ^= 1
    assert not is_complete(bytes(whole))


def test_what_cannot_be_told_is_not_complete(grey: Grey) -> None:
    assert not is_complete(dicom(deflated=True)(grey))
    assert not is_complete(b"text")
    assert not is_complete(b"")
    # DICOM without pixels.
    assert not is_complete(dicom()(grey)[:300])


def test_directory_that_refers_to_itself(grey: Grey) -> None:
    whole = WRITERS["big-endian tiff"](grey)
    assert is_complete(whole[:106] + b"\0\0\0\x08" + whole[110:])


def test_heic() -> None:
    boxes = [(b"ftyp", b"heic" + bytes(4)), (b"meta", b"about"), (b"mdat", zlib.compress(b"pixels"))]
    whole = b"".join((8 + len(body)).to_bytes(4, "big") + kind + body for kind, body in boxes)
    assert is_complete(whole)
    assert [end for end in range(len(whole)) if is_complete(whole[:end])] == []


def test_inspect(tmp_path: Path, grey: Grey) -> None:
    whole = WRITERS["png"](grey)
    path = tmp_path / "a.png"
    path.write_bytes(whole)
    digest = hashlib.blake2b(whole, digest_size=16).hexdigest()
    assert inspect(str(path), len(whole)) == (digest, True)
    assert inspect(str(path), len(whole) - 1) == (
        hashlib.blake2b(whole[:-1], digest_size=16).hexdigest(),
        False,
    )
