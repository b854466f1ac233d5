"""Unusable images are refused with the status that gives the reason."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.errors import ImageError, Status
from fracture_edge.images import pillow as raster
from fracture_edge.images.image_file import ImageSource, load_image

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


def encode(style: str, pixels: npt.NDArray[np.uint8] = NOISE, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, style, **options)
    return buffer.getvalue()


def failure(source: ImageSource) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(source)
    return caught.value


def png_that_announces(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "status", "detail"),
    [
        (100_000, 100_000, Status.TOO_LARGE, "100000x100000 pixels, over the limit of 50,000,000"),
        (50_000_001 // 32 + 1, 32, Status.TOO_LARGE, "1562501x32 pixels, over the limit of 50,000,000"),
        (1, 1, Status.TOO_SMALL, "1x1 pixels, under 32 on a side"),
        (31, 500, Status.TOO_SMALL, "31x500 pixels, under 32 on a side"),
        (500, 31, Status.TOO_SMALL, "500x31 pixels, under 32 on a side"),
    ],
)
def test_size_in_the_header_decides(width: int, height: int, status: Status, detail: str) -> None:
    error = failure(png_that_announces(width, height))
    assert (error.status, error.detail) == (status, detail)
    assert str(error) == f"<bytes>: {detail}"


@pytest.mark.parametrize("source", [encode("PNG"), encode("JPEG"), encode("BMP"), encode("TIFF"), NOISE])
def test_pixel_limit_is_inclusive(source: ImageSource) -> None:
    assert load_image(source, max_pixels=64 * 64).shape == (64, 64)
    with pytest.raises(
        ImageError, match=r"64x64 pixels, over the limit of 4,095|over the limit of 0 MB"
    ) as caught:
        load_image(source, max_pixels=64 * 64 - 1)
    assert caught.value.status is Status.TOO_LARGE


def test_smallest_side_is_inclusive() -> None:
    assert load_image(encode("PNG", NOISE[:32, :32])).shape == (32, 32)


@pytest.mark.parametrize("style", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(style: str, share: float) -> None:
    data = encode(style)
    error = failure(data[: int(len(data) * share)])
    assert (error.status, error.detail) == (Status.TRUNCATED, f"the {style} file is truncated")


def test_truncated_jpeg_that_is_decoded_at_reduced_scale() -> None:
    data = encode("JPEG", np.tile(NOISE, (20, 20)))
    with pytest.raises(ImageError) as caught:
        load_image(data[: len(data) // 2], model_size=(64, 64))
    assert caught.value.status is Status.TRUNCATED


@pytest.mark.parametrize(
    ("style", "data"),
    [
        ("PNG", encode("PNG").replace(b"IHDR", b"IHDX")),
        ("PNG", encode("PNG")[:60] + bytes(200) + encode("PNG")[260:]),
        ("JPEG", b"\xff\xd8\xff" + bytes(500)),
        ("BMP", b"BM" + bytes(12) + struct.pack("<I", 99) + bytes(500)),
        ("TIFF", b"II*\0\x08\0\0\0" + bytes(500)),
        ("WEBP", encode("WEBP", lossless=True)[:600]),
    ],
    ids=["png-header", "png-body", "jpeg", "bmp", "tiff", "webp"],
)
def test_broken(style: str, data: bytes) -> None:
    error = failure(data)
    assert error.status is Status.CORRUPT
    assert error.detail.startswith(f"the {style} file is broken (")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"hello\n", ""),
        (encode("PPM"), ""),
        (b"\0", ""),
        (b"RIFF1234WAVE", ""),
        (encode("GIF"), "GIF, "),
        (encode("JPEG2000"), "JPEG 2000, "),
        (encode("JPEG2000", no_jp2=True), "JPEG 2000, "),
        (b"\0\0\0 ftypavif", "AVIF, "),
        (b"%PDF-1.7", "PDF, "),
    ],
    ids=["text", "ppm", "nul", "wav", "gif", "jp2", "j2k", "avif", "pdf"],
)
def test_unsupported_format(data: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    error = failure(path)
    assert (error.status, error.source) == (Status.UNSUPPORTED_FORMAT, str(path))
    assert error.detail == f"{kind}not a PNG, JPEG, TIFF, BMP, WebP, HEIC or DICOM image"


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    for source in (tmp_path / "x.png", b"", io.BytesIO()):
        error = failure(source)
        assert (error.status, error.detail) == (Status.EMPTY, "the file is empty")


def test_missing_file(tmp_path: Path) -> None:
    error = failure(tmp_path / "x.png")
    assert (error.status, error.detail) == (Status.NOT_FOUND, "no such file")


def test_directory(tmp_path: Path) -> None:
    error = failure(tmp_path)
    assert (error.status, error.detail) == (Status.IS_DIRECTORY, "is a folder, not an image")


def test_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(encode("PNG"))
    error = failure(tmp_path / "file" / "x.png")
    assert (error.status, error.detail) == (Status.UNREADABLE, "Not a directory")


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_no_permission(
    locked: str, public_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    folder = public_folder / "folder"
    folder.mkdir()
    path = folder / "x.png"
    path.write_bytes(encode("PNG"))
    target = path if locked == "file" else folder
    target.chmod(0)
    with as_nobody():
        error = failure(path)
    assert (error.status, error.detail) == (Status.PERMISSION_DENIED, "no permission to read it")


def test_folder_without_permission(
    public_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    folder = public_folder / "folder"
    folder.mkdir()
    folder.chmod(0)
    with as_nobody():
        error = failure(folder)
    assert (error.status, error.detail) == (Status.PERMISSION_DENIED, "no permission to read it")


@pytest.mark.parametrize("linked", [False, True])
def test_pipe_is_not_waited_for(linked: bool, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    if linked:
        (tmp_path / "link.png").symlink_to(pipe)
        pipe = tmp_path / "link.png"
    error = failure(pipe)
    assert (error.status, error.detail) == (Status.NOT_A_FILE, "is a pipe, not a file")


def test_device() -> None:
    error = failure("/dev/zero")
    assert (error.status, error.detail) == (Status.NOT_A_FILE, "is a device, not a file")


def test_socket(public_folder: Path) -> None:
    # Not in `tmp_path`, whose name may be too long for a socket.
    path = public_folder / "socket.png"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        error = failure(path)
    assert (error.status, error.detail) == (Status.NOT_A_FILE, "is a socket, not a file")


def test_file_that_becomes_a_pipe_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file.png").write_bytes(encode("PNG"))
    os.mkfifo(tmp_path / "pipe.png")
    before = (tmp_path / "file.png").stat()
    monkeypatch.setattr(Path, "stat", lambda path: before)
    assert failure(tmp_path / "pipe.png").status is Status.NOT_A_FILE


def test_links(tmp_path: Path) -> None:
    (tmp_path / "file.png").write_bytes(encode("PNG"))
    for name, target in (("good", "file.png"), ("folder", "."), ("gone", "nothing"), ("circle", "circle")):
        (tmp_path / name).symlink_to(target)
    np.testing.assert_array_equal(load_image(tmp_path / "good"), NOISE)
    assert failure(tmp_path / "folder").status is Status.IS_DIRECTORY
    assert failure(tmp_path / "gone").status is Status.NOT_FOUND
    error = failure(tmp_path / "circle")
    assert (error.status, error.detail) == (Status.UNREADABLE, "Too many levels of symbolic links")


def test_name_with_a_nul() -> None:
    assert failure("a\0b.png").status is Status.UNREADABLE


def test_stream_of_short_reads() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(7)

    np.testing.assert_array_equal(load_image(Slow(encode("PNG"))), NOISE)


def test_stream_of_text() -> None:
    error = failure(io.StringIO("text"))  # type: ignore[arg-type]
    assert (error.status, error.detail) == (Status.UNREADABLE, "the file is not open in binary mode")


def test_stream_without_data_yet() -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with open(ours, "rb", buffering=0) as stream, open(theirs, "wb"):  # noqa: PTH123
        error = failure(stream)  # type: ignore[arg-type]
    assert (error.status, error.detail) == (Status.UNREADABLE, "no data is available now")


def test_stream_that_fails() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    error = failure(Broken())  # type: ignore[arg-type]
    assert (error.status, error.source, error.detail) == (Status.UNREADABLE, "<file>", "Input/output error")


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(raster, "image_to_grey", fail)
    error = failure(encode("PNG"))
    assert (error.status, error.detail) == (Status.TOO_LARGE, "not enough memory to decode it")
