"""Every format and every kind of source gives pixels that were computed by hand."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fracture_edge.errors import ImageError, ImageFormatError, ImageSizeError, Status
from fracture_edge.images.image_file import load_frames, load_image, load_picture, source_name, stretch

Grey = npt.NDArray[np.uint8]

ROWS, COLUMNS = np.mgrid[0:32, 0:40]
RAMP = ((ROWS * 40 + COLUMNS) % 256).astype(np.uint8)
#: One grey value per 8x8 block: JPEG keeps these exactly, its first coefficient holds them.
BLOCKS = np.kron(np.arange(0, 240, 12).reshape(4, 5), np.ones((8, 8))).astype(np.uint8)
#: Stretching divides by 7 again.
DEEP = (RAMP.astype(np.uint16) * 7 + 1000).astype(np.uint16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)
LEFT = COLUMNS < 20


def encode(pixels: npt.NDArray[np.generic] | Image.Image, style: str, **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, style, **options)
    return buffer.getvalue()


def luma(colours: Grey) -> Grey:
    """Compute the luma of ITU-R 601-2 in integers, rounded to nearest."""
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16).astype(np.uint8)


def palette_image() -> Image.Image:
    image = Image.fromarray(np.where(LEFT, 0, 1).astype(np.uint8), "L").convert("P")
    image.putdata(np.where(LEFT, 0, 1).ravel().tolist())
    image.putpalette([200, 200, 200, 255, 0, 0])
    return image


def with_alpha(*channels: Grey) -> Image.Image:
    return Image.fromarray(np.stack(channels, axis=-1), "LA" if len(channels) == 2 else "RGBA")


# 200 at alpha 51 of 255 over black is 40; the palette's red (255, 0, 0) is 76.
HALF_SEEN = np.where(LEFT, 255, 51).astype(np.uint8)
FLAT = np.full((32, 40), 200, np.uint8)
SEEN_FLAT = np.where(LEFT, 200, 40).astype(np.uint8)
RED_RIGHT = np.where(LEFT, 200, 76).astype(np.uint8)

CASES: dict[str, tuple[Callable[[], bytes], Grey]] = {
    "png-grey-8": (lambda: encode(RAMP, "PNG"), RAMP),
    "png-grey-16": (lambda: encode(DEEP, "PNG"), RAMP),
    "png-rgb": (lambda: encode(COLOURS, "PNG"), luma(COLOURS)),
    "png-rgba": (lambda: encode(with_alpha(FLAT, FLAT, FLAT, HALF_SEEN), "PNG"), SEEN_FLAT),
    "png-la": (lambda: encode(with_alpha(FLAT, HALF_SEEN), "PNG"), SEEN_FLAT),
    "png-palette": (lambda: encode(palette_image(), "PNG"), RED_RIGHT),
    "png-palette-transparent": (
        lambda: encode(palette_image(), "PNG", transparency=0),
        np.where(LEFT, 0, 76).astype(np.uint8),
    ),
    "png-1-bit": (lambda: encode(LEFT, "PNG"), LEFT.astype(np.uint8) * 255),
    "jpeg-grey": (lambda: encode(BLOCKS, "JPEG"), BLOCKS),
    "jpeg-rgb": (lambda: encode(np.stack([BLOCKS] * 3, axis=-1), "JPEG"), BLOCKS),
    "jpeg-cmyk": (
        lambda: encode(
            Image.merge("CMYK", [Image.new("L", (40, 32))] * 3 + [Image.fromarray(255 - BLOCKS)]), "JPEG"
        ),
        BLOCKS,
    ),
    "tiff-8": (lambda: encode(RAMP, "TIFF"), RAMP),
    "tiff-8-lzw": (lambda: encode(RAMP, "TIFF", compression="tiff_lzw"), RAMP),
    "tiff-8-white-is-zero": (lambda: encode(RAMP, "TIFF", tiffinfo={262: 0}), RAMP),
    "tiff-16": (lambda: encode(DEEP, "TIFF"), RAMP),
    "tiff-16-big-endian": (lambda: encode(Image.fromarray(DEEP.astype(">u2")), "TIFF"), RAMP),
    # Pillow writes the values unchanged with the tag, so 1000 is the brightest.
    "tiff-16-white-is-zero": (lambda: encode(DEEP, "TIFF", tiffinfo={262: 0}), 255 - RAMP),
    "tiff-1-bit": (lambda: encode(LEFT, "TIFF", compression="group4"), LEFT.astype(np.uint8) * 255),
    "tiff-la": (lambda: encode(with_alpha(FLAT, HALF_SEEN), "TIFF"), SEEN_FLAT),
    "tiff-cmyk": (
        lambda: encode(
            Image.merge("CMYK", [Image.new("L", (40, 32))] * 3 + [Image.fromarray(255 - RAMP)]), "TIFF"
        ),
        RAMP,
    ),
    "tiff-big": (lambda: encode(RAMP, "TIFF", big_tiff=True), RAMP),
    "tiff-32": (lambda: encode(RAMP.astype(np.int32) * 70_000 - 9, "TIFF"), RAMP),
    "tiff-float-not-finite": (
        lambda: encode(np.where(RAMP == 9, np.nan, RAMP).astype(np.float32), "TIFF"),
        np.where(RAMP == 9, 0, RAMP).astype(np.uint8),
    ),
    "jpeg-progressive": (lambda: encode(BLOCKS, "JPEG", progressive=True), BLOCKS),
    "tiff-float": (lambda: encode((RAMP / 255).astype(np.float32), "TIFF"), RAMP),
    "bmp": (lambda: encode(RAMP, "BMP"), RAMP),
    "bmp-rgb": (lambda: encode(COLOURS, "BMP"), luma(COLOURS)),
    "webp-lossless": (lambda: encode(np.stack([RAMP] * 3, axis=-1), "WEBP", lossless=True), RAMP),
}


@pytest.mark.parametrize("case", CASES)
def test_format(case: str) -> None:
    make, expected = CASES[case]
    grey = load_image(make())
    assert (grey.dtype, grey.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(grey, expected)


#: What must be done with the stored pixels to see the picture upright.
UPRIGHT: dict[int, Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("style", "stored"), [("PNG", RAMP), ("TIFF", RAMP), ("PNG", DEEP), ("TIFF", DEEP)])
def test_exif_orientation(style: str, stored: npt.NDArray[np.generic], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    grey = load_image(encode(stored, style, exif=exif))
    np.testing.assert_array_equal(grey, UPRIGHT[orientation](RAMP))
    assert grey.flags.c_contiguous


@pytest.mark.parametrize("style", ["PNG", "JPEG", "TIFF"])
def test_every_source_gives_the_same_pixels(style: str, tmp_path: Path) -> None:
    # The suffix is wrong: the content decides.
    path = tmp_path / "bone.bmp"
    path.write_bytes(encode(BLOCKS, style))
    with path.open("rb") as stream:
        sources = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), stream, BLOCKS]
        for source in sources:
            np.testing.assert_array_equal(load_image(source), BLOCKS)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/b.png", "a/b.png"),
        (Path("a/b.png"), str(Path("a/b.png"))),
        (b"", "<bytes>"),
        (io.BytesIO(), "<file>"),
        (bytearray(), "<bytes>"),
        (memoryview(b""), "<bytes>"),
        (RAMP, "<array>"),
        (Image.fromarray(RAMP), "<image>"),
    ],
)
def test_source_name(source: object, name: str) -> None:
    assert source_name(source) == name  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "lazily"), [("PNG", False), ("PNG", True), ("TIFF", True), ("JPEG", True)])
def test_pillow_image(kind: str, lazily: bool, tmp_path: Path) -> None:
    path = tmp_path / "x"
    exif = Image.Exif()
    # Pillow itself does not turn a TIFF file that it maps into memory.
    exif[274] = 1 if kind == "TIFF" else 6
    path.write_bytes(encode(BLOCKS, kind, exif=exif, dpi=(150, 100)))
    with Image.open(path) as image:
        if not lazily:
            image.load()
        assert source_name(image) == str(path)
        found, expected = load_picture(image), load_picture(path)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.pixels.flags.c_contiguous
    # TIFF files state their resolutions in a directory, which the image does not keep apart from its own.
    assert found.aspect == (pytest.approx(2 / 3, rel=1e-3) if kind != "TIFF" else 1)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(RAMP), RAMP),
        (Image.fromarray(DEEP), RAMP),
        (Image.fromarray(COLOURS), luma(COLOURS)),
        (palette_image(), RED_RIGHT),
        (with_alpha(FLAT, FLAT, FLAT, HALF_SEEN), SEEN_FLAT),
        (Image.fromarray((RAMP / 255).astype(np.float32)), RAMP),
    ],
)
def test_pillow_image_of_any_mode(image: Image.Image, expected: Grey) -> None:
    np.testing.assert_array_equal(load_image(image), expected)


def test_pillow_images_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ImageSizeError, match=r"<image>: 31x40 pixels, under 32"):
        load_image(Image.new("L", (31, 40)))
    with pytest.raises(ImageSizeError, match="over the limit of 99"):
        load_image(Image.new("L", (64, 64)), max_pixels=99)
    path = tmp_path / "cut.png"
    data = encode(RAMP, "PNG")
    path.write_bytes(data[: len(data) // 2])
    with Image.open(path) as image, pytest.raises(ImageError) as caught:
        load_image(image)
    assert (caught.value.status, caught.value.source) == (Status.TRUNCATED, str(path))


def test_other_kinds_of_bytes() -> None:
    data = encode(RAMP, "PNG")
    for source in (bytearray(data), memoryview(data), memoryview(np.frombuffer(data, np.uint8))):
        np.testing.assert_array_equal(load_image(source), RAMP)
    with pytest.raises(ImageSizeError, match="over the limit of 0 MB"):
        load_image(bytearray(data), max_pixels=9)


def test_source_name_of_an_open_file(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as stream:
        assert source_name(stream) == str(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # 255/4 = 63.75, 127.5 to even, 191.25
        (np.array([0, 1, 2, 3, 4], np.uint16), [0, 64, 128, 191, 255]),
        (np.array([1000, 4095], np.uint16), [0, 255]),
        (np.array([-10, 0, 10], np.int32), [0, 128, 255]),
        (np.array([0.0, 0.2, 1.0]), [0, 51, 255]),
        (np.array([np.nan, 10, 20, np.inf, -np.inf], np.float32), [0, 0, 255, 0, 0]),
        (np.array([7, 7, 7], np.uint16), [0, 0, 0]),
        (np.array([np.nan, np.inf]), [0, 0]),
        (np.array([-3e38, 0, 3e38], np.float32), [0, 128, 255]),
        (np.array([-1e308, 0, 1, 2, 1e308]), [0, 0, 128, 255, 0]),
        (np.array([0, 1e-310]), [0, 0]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_stretch(values: npt.NDArray[np.generic], expected: list[int]) -> None:
    result = stretch(values)
    assert (result.dtype, result.tolist()) == (np.uint8, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RAMP, RAMP),
        (RAMP[..., np.newaxis], RAMP),
        (RAMP[::-1, ::-1], RAMP[::-1, ::-1]),
        (COLOURS, luma(COLOURS)),
        (np.dstack([FLAT, FLAT, FLAT, HALF_SEEN]), SEEN_FLAT),
        (LEFT, LEFT.astype(np.uint8) * 255),
        (DEEP, RAMP),
        (DEEP.astype(">u2"), RAMP),
        (RAMP.astype(np.int64) - 128, RAMP),
        (RAMP / 255, RAMP),
        (COLOURS / 255, luma(COLOURS)),
    ],
)
def test_array(values: npt.NDArray[np.generic], expected: Grey) -> None:
    grey = load_image(values)
    assert (grey.dtype, grey.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(grey, expected)


@pytest.mark.parametrize("shape", [(64,), (64, 64, 2), (64, 64, 5), (1, 64, 64), (1, 64, 64, 1)])
def test_array_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageFormatError, match=r"is neither \[H, W\] nor") as caught:
        load_image(np.zeros(shape, np.uint8))
    assert (caught.value.status, caught.value.source) == (Status.UNSUPPORTED_FORMAT, "<array>")


@pytest.mark.parametrize("kind", [np.complex64, object, "U4", "datetime64[s]"])
def test_array_of_a_wrong_type(kind: npt.DTypeLike) -> None:
    with pytest.raises(ImageFormatError, match="is not a real number"):
        load_image(np.zeros((64, 64), kind))


@pytest.mark.parametrize("shape", [(31, 64), (64, 31), (0, 64), (1, 1, 3)])
def test_array_that_is_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageSizeError, match="under 32 on a side") as caught:
        load_image(np.zeros(shape, np.uint8))
    assert caught.value.status is Status.TOO_SMALL


OTHER, THIRD = Image.fromarray(255 - RAMP), Image.fromarray(RAMP // 2)


@pytest.mark.parametrize("style", ["PNG", "TIFF", "WEBP"])
def test_several_pictures_in_a_file(style: str) -> None:
    options = {"lossless": True} if style == "WEBP" else {}
    data = encode(RAMP, style, save_all=True, append_images=[OTHER, THIRD], **options)
    picture = load_picture(data)
    assert (picture.frame, picture.frames) == (0, 3)
    np.testing.assert_array_equal(picture.pixels, RAMP)
    (only,) = load_frames(data)
    assert only.frames == 3


@pytest.mark.parametrize("style", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_one_picture_in_a_file(style: str) -> None:
    picture = load_picture(encode(RAMP, style))
    assert (picture.frame, picture.frames) == (0, 1)


def test_second_page_does_not_matter() -> None:
    data = encode(RAMP, "TIFF", save_all=True, append_images=[OTHER])
    picture = load_picture(data[: len(data) - OTHER.width * OTHER.height // 2])
    np.testing.assert_array_equal(picture.pixels, RAMP)


def test_pages_that_link_in_a_circle() -> None:
    data = bytearray(encode(RAMP, "TIFF"))
    # The last four bytes of the directory, the offset of the next one, point to the directory itself.
    at = int.from_bytes(data[4:8], "little")
    link = at + 2 + 12 * int.from_bytes(data[at : at + 2], "little")
    data[link : link + 4] = data[4:8]
    assert load_picture(bytes(data)).frames == 1


@pytest.mark.parametrize("style", ["PNG", "JPEG", "WEBP"])
def test_corrupt_exif_is_ignored(style: str) -> None:
    options = {"lossless": True} if style == "WEBP" else {}
    stored = BLOCKS if style == "JPEG" else RAMP
    grey = load_image(encode(stored, style, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f", **options))
    np.testing.assert_array_equal(grey, stored)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (lambda tall: tall, lambda tall: tall),
        (lambda tall: np.dstack([tall] * 3), lambda tall: tall),
        (lambda tall: tall.astype(np.uint16) * 7 + 1000, lambda tall: tall),
        (lambda tall: (tall / 255).astype(np.float32), lambda tall: tall),
    ],
    ids=["8-bit", "rgb", "16-bit", "float"],
)
def test_strips_are_joined_seamlessly(
    stored: Callable[[Grey], npt.NDArray[np.generic]], expected: Callable[[Grey], Grey]
) -> None:
    # Half a million pixels are converted in two strips and a remainder.
    tall = np.ascontiguousarray(np.resize(RAMP, (2601, 211)))
    for source in (encode(stored(tall), "TIFF"), stored(tall)):
        np.testing.assert_array_equal(load_image(source), expected(tall))


HEIC = b"\0\0\0\x18ftypheic" + bytes(100)


def test_heic_with_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    # The reader cannot write: a stand-in in its place decodes any input to RAMP.
    from PIL import PngImagePlugin

    stand_in = ModuleType("pi_heif")
    stand_in.HeifImageFile = lambda stream: PngImagePlugin.PngImageFile(  # type: ignore[attr-defined]
        io.BytesIO(encode(RAMP, "PNG"))
    )
    monkeypatch.setitem(sys.modules, "pi_heif", stand_in)
    np.testing.assert_array_equal(load_image(HEIC), RAMP)


def test_heic_without_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageFormatError) as caught:
        load_image(HEIC)
    assert caught.value.status is Status.DECODER_NOT_INSTALLED
    assert caught.value.detail == "HEIC needs pi-heif: pip install 'fracture-edge[heic]'"
