"""Too large images are refused before decoding, and decoding accepted ones stays within the limit of memory."""

import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from fracture_edge.errors import ImageCorruptError, ImageError, ImageSizeError, Status
from fracture_edge.images import tiff
from fracture_edge.images.image_file import load_image
from fracture_edge.images.jpeg_header import Codestream, read_header
from fracture_edge.images.limits import BYTES_PER_PIXEL, MAX_FRAMES, check_memory, check_size, max_bytes
from fracture_edge.images.sources import read_bytes

Run = Callable[..., subprocess.CompletedProcess[bytes]]

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


def encode(pixels: npt.NDArray[np.generic], style: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, style, **options)
    return buffer.getvalue()


def refusal(data: bytes, max_pixels: int) -> str:
    with pytest.raises(ImageSizeError) as caught:
        load_image(data, max_pixels=max_pixels)
    assert caught.value.status is Status.TOO_LARGE
    return caught.value.detail


def test_check_size() -> None:
    check_size("x", 32, 100, 3200)
    with pytest.raises(ImageSizeError, match=r"x: 32x100 pixels, over the limit of 3,199") as large:
        check_size("x", 32, 100, 3199)
    with pytest.raises(ImageSizeError, match=r"x: 31x100 pixels, under 32 on a side") as small:
        check_size("x", 31, 100)
    assert (large.value.status, small.value.status) == (Status.TOO_LARGE, Status.TOO_SMALL)


def test_check_memory() -> None:
    assert max_bytes(1_000_000) == BYTES_PER_PIXEL * 1_000_000 == 5_000_000
    check_memory("x", 5_000_000, 1_000_000)
    with pytest.raises(ImageSizeError, match="x: takes 6 MB to decode, over the limit of 5 MB"):
        check_memory("x", 6_000_000, 1_000_000)


def test_file_that_is_too_large(tmp_path: Path) -> None:
    data = bytes(5_000_001)
    path = tmp_path / "x.bmp"
    path.write_bytes(data)
    for source in (lambda: path, lambda: data, lambda: io.BytesIO(data)):
        assert read_bytes(source(), 5_000_001)[1] == data
        with pytest.raises(ImageSizeError, match="over the limit of 5 MB for a file"):
            read_bytes(source(), 5_000_000)
    with pytest.raises(ImageSizeError, match="over the limit of 5 MB for a file"):
        load_image(path, max_pixels=1_000_000)


def test_endless_stream_is_read_up_to_the_limit() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return bytes(size)

    stream = Endless()
    with pytest.raises(ImageSizeError):
        load_image(stream, max_pixels=1_000_000)  # type: ignore[arg-type]
    assert stream.given == 5_000_001


@pytest.mark.parametrize(
    ("data", "bytes_per_pixel"),
    [
        (encode(NOISE, "PNG"), 2),
        (encode(NOISE.astype(np.uint16), "PNG"), 3),
        (encode(np.dstack([NOISE] * 3), "BMP"), 5),
        # Pillow keeps a copy of the strips in addition.
        (encode(NOISE.astype(np.float32), "TIFF", compression="tiff_lzw"), 9),
        (encode(np.dstack([NOISE] * 3), "WEBP"), 17),
    ],
    ids=["png-8", "png-16", "bmp", "tiff-float", "webp"],
)
def test_memory_is_counted_before_decoding(data: bytes, bytes_per_pixel: int) -> None:
    needed = len(data) + bytes_per_pixel * 64 * 64
    enough = max(64 * 64, -(-needed // BYTES_PER_PIXEL))
    assert load_image(data, max_pixels=enough).shape == (64, 64)
    if enough > 64 * 64:
        assert "MB to decode" in refusal(data, enough - 1)


def test_progressive_jpeg_needs_its_coefficients() -> None:
    colours = np.dstack([NOISE] * 3)
    sequential = encode(colours, "JPEG", quality=10, subsampling=0)
    progressive = encode(colours, "JPEG", quality=10, subsampling=0, progressive=True)
    # Both take five bytes per pixel beside the file; coefficients are two more for each of three components.
    enough = 64 * 64 + 1 + max(len(sequential), len(progressive)) // BYTES_PER_PIXEL
    assert load_image(sequential, max_pixels=enough).shape == (64, 64)
    assert "MB to decode" in refusal(progressive, enough)
    assert load_image(progressive, max_pixels=enough + 6 * 64 * 64 // BYTES_PER_PIXEL + 1).shape == (64, 64)


def scans_of_their_own(jpeg: bytes) -> bytes:
    """Change the first scan of a colour JPEG to one component; the others would follow."""
    at = jpeg.index(b"\xff\xda")
    return jpeg[:at] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" + jpeg[at + 14 :]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(NOISE[:40], "JPEG"), Codestream(64, 40, 1, True, 8, True)),
        (encode(np.dstack([NOISE] * 3), "JPEG"), Codestream(64, 64, 3, True, 8, True, True)),
        (
            encode(np.dstack([NOISE] * 3), "JPEG", progressive=True),
            Codestream(64, 64, 3, False, 8, True, True),
        ),
        (
            scans_of_their_own(encode(np.dstack([NOISE] * 3), "JPEG")),
            Codestream(64, 64, 3, False, 8, True, True),
        ),
        (encode(NOISE[:40], "JPEG2000"), Codestream(64, 40, 1, False)),
        (encode(NOISE[:40], "JPEG2000", no_jp2=True), Codestream(64, 40, 1, False)),
        (encode(NOISE, "PNG"), None),
        (b"\xff\xd8", None),
        (b"\xff\xd8" + b"\xff" * 99, None),
        (b"\xff\x4f\xff\x51", None),
    ],
)
def test_codestream(data: bytes, expected: Codestream | None) -> None:
    assert read_header(data) == expected


def test_codestream_of_jpeg_ls() -> None:
    dataset = pydicom.dcmread(get_testdata_file("MR_small_jpeg_ls_lossless.dcm"))
    assert read_header(dataset.PixelData[dataset.PixelData.index(b"\xff\xd8") :]) == Codestream(
        64, 64, 1, True, 16, other="JPEG-LS"
    )


def directory(entries: list[tuple[int, int, int, int]], following: int = 0, *, big: bool = False) -> bytes:
    """Make a TIFF file that begins with a directory of the entries (tag, type, count, value)."""
    layout, count, link = ("<HHQQ", "<Q", "<Q") if big else ("<HHII", "<H", "<I")
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    body = b"".join(struct.pack(layout, *entry) for entry in entries)
    return head + struct.pack(count, len(entries)) + body + struct.pack(link, following)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tag", [273, 324])
def test_tiff_with_too_many_strips_or_tiles(tag: int, big: bool) -> None:
    parts = tiff.MAX_PARTS
    assert tiff.read_directories("x", directory([(256, 3, 1, 64), (tag, 4, parts, 0)], big=big)).pages == 1
    with pytest.raises(ImageSizeError, match=r"x: 100,001 strips or tiles, over the limit of 100,000"):
        tiff.read_directories("x", directory([(256, 3, 1, 64), (tag, 4, parts + 1, 0)], big=big))


def test_tiff_with_very_many_pages() -> None:
    page = struct.pack("<H", 0)
    pages = b"".join(page + struct.pack("<I", 8 + 6 * (number + 1)) for number in range(MAX_FRAMES + 99))
    assert tiff.read_directories("x", b"II*\0" + struct.pack("<I", 8) + pages).pages == MAX_FRAMES + 1


@pytest.mark.parametrize("data", [b"II*\0", b"II*\0\xff\xff\xff\x7f", b"MM\0+" + bytes(4) + b"\xff" * 8])
def test_tiff_without_directory(data: bytes) -> None:
    with pytest.raises(ImageCorruptError, match="x: the TIFF file has no directory"):
        tiff.read_directories("x", data)


def deflated_dicom(content: bytes) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    syntax = b"\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"
    meta = b"\x02\0\0\0UL\x04\0" + struct.pack("<I", len(syntax)) + syntax
    return bytes(128) + b"DICM" + meta + pack.compress(content) + pack.flush()


def test_deflated_dicom_that_unpacks_to_a_thousand_times_its_size(run_python: Run, tmp_path: Path) -> None:
    path = tmp_path / "bomb.dcm"
    path.write_bytes(deflated_dicom(bytes(1_000_000_000)))
    assert path.stat().st_size < 1_100_000
    script = (
        "import sys\nfrom fracture_edge.images.image_file import load_image\n"
        "from fracture_edge.machine import peak_memory_mb\n"
        "try: load_image(sys.argv[1])\n"
        "except Exception as error: print(error.status, error.detail)\n"
        # Not ru_maxrss, which a child inherits from the process that started it.
        "print(peak_memory_mb())"
    )
    done = run_python("-c", script, path)
    words, peak = done.stdout.decode().splitlines()
    assert words == "too_large the DICOM file unpacks to over 125 MB"
    if peak != "None":
        assert float(peak) < 400


MEGAPIXELS_50 = (7070, 7070)

LARGE: dict[str, Callable[[], bytes]] = {
    # Uniform images: they take as much memory as any of their size, and are made quickly.
    "png-grey": lambda: encode(np.zeros(MEGAPIXELS_50, np.uint8), "PNG", compress_level=1),
    "png-rgba": lambda: encode(np.zeros((7000, 7000, 4), np.uint8), "PNG", compress_level=1),
    "tiff-16": lambda: encode(np.zeros((7000, 7000), np.uint16), "TIFF"),
    "tiff-float-one-strip": lambda: encode(
        np.zeros((5200, 5200), np.float32), "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 5200}
    ),
    "jpeg-progressive": lambda: encode(
        np.zeros((6000, 6000, 3), np.uint8), "JPEG", subsampling=0, progressive=True
    ),
    "webp": lambda: encode(np.zeros((3800, 3800, 3), np.uint8), "WEBP", method=0),
}


@pytest.mark.parametrize("case", LARGE)
def test_memory_of_the_largest_files_that_are_accepted(
    case: str, run_python: Run, tiny_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / case
    path.write_bytes(LARGE[case]())
    # The peak of this process alone: ru_maxrss may be that of the process that started it.
    script = (
        "import sys\nfrom pathlib import Path\nfrom fracture_edge import FractureClassifier\n"
        "prediction = FractureClassifier(sys.argv[1]).predict(sys.argv[2])\n"
        "line = next(line for line in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in line)\n"
        "print(prediction.status, int(line.split()[1]) * 1024)"
    )
    done = run_python("-c", script, tiny_model, path)
    status, peak = done.stdout.split()
    assert status == b"ok", done.stderr
    assert int(peak) < 400e6


def test_a_larger_limit_accepts_more() -> None:
    data = encode(np.zeros((3100, 3100), np.uint8), "PNG", compress_level=1)
    with pytest.raises(ImageError):
        load_image(data, max_pixels=9_000_000)
    assert load_image(data, max_pixels=10_000_000).shape == (3100, 3100)
