import io
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fracture_edge.batch.folders import is_hidden, looks_like_image
from fracture_edge.batch.inputs import expand, read_list


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.PNG",
        "a.jpg",
        "c.tiff",
        "d.dcm",
        "e.webp",
        "f.bmp",
        "notes.txt",
        "g",
        "sub/h.jpeg",
        "sub/x/i.tif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "y.png").mkdir()
    return tmp_path


def names(files: list[Path], folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


FLAT = ["a.jpg", "b.PNG", "c.tiff", "d.dcm", "e.webp", "f.bmp", "y.png"]


def test_folder(folder: Path) -> None:
    assert names(expand([folder])[0], folder) == FLAT


DICOM = bytes(128) + b"DICM"


def test_dicom_files_without_a_suffix_are_found_by_content(folder: Path) -> None:
    for name in ("IM000001", "1.2.840.10008.5", "sub/IM000002"):
        (folder / name).write_bytes(DICOM + b"\x02\0")
    assert names(expand([folder])[0], folder) == ["1.2.840.10008.5", "IM000001", *FLAT]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("IM000001", DICOM, True),
        ("1.2.840.10008.5", DICOM, True),
        ("empty.png", b"", True),
        # Content decides, whatever the name.
        ("report.txt", DICOM, True),
        ("photo.jfif", b"\xff\xd8\xff\xe0", True),
        ("photo.jpe", b"\xff\xd8\xff\xe0", True),
        ("x", b"\x89PNG\r\n\x1a\n", True),
        ("x.old", b"RIFF\0\0\0\0WEBP", True),
        ("x", b"BM" + bytes(12) + b"\x28\0\0\0", True),
        ("x", b"BMW cars, a list in plain text", False),
        ("x.png.part", b"\x89PNG\r\n\x1a\n", False),
        # An index, other content, and a file that ends before the DICOM prefix.
        ("DICOMDIR", DICOM, False),
        ("dicomdir", DICOM, False),
        ("IM000001", bytes(132), False),
        ("1.2.3", DICOM[:-1], False),
    ],
)
def test_looks_like_image(name: str, content: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert looks_like_image(tmp_path / name) == expected


def test_folders_and_pipes_without_a_suffix_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    assert not looks_like_image(tmp_path / "series")
    assert not looks_like_image(tmp_path / "missing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert not looks_like_image(tmp_path / "pipe")


def test_recursive(folder: Path) -> None:
    assert names(expand([folder], recursive=True)[0], folder) == [*FLAT[:6], "sub/h.jpeg", "sub/x/i.tif", "y.png"]


def test_explicit_files_are_kept(folder: Path) -> None:
    given = [folder / "notes.txt", folder / "missing", folder / "y.png", folder / "g", folder / "g"]
    assert expand(given) == (given, [])


def test_order_of_arguments_is_kept(folder: Path) -> None:
    given = [folder / "sub" / "x", folder / "notes.txt", folder / "sub"]
    assert names(expand(given)[0], folder) == ["sub/x/i.tif", "notes.txt", "sub/h.jpeg"]


def test_nothing_given() -> None:
    assert expand([]) == ([], [])


def test_folder_without_images_is_kept(folder: Path) -> None:
    empty = folder / "sub"
    (empty / "h.jpeg").unlink()
    files, notes = expand([folder / "a.jpg", empty])
    assert files == [folder / "a.jpg", empty]
    assert notes == [f"{empty}: no images in this folder; -r searches its sub-folders too"]
    (empty / "x" / "i.tif").unlink()
    assert expand([empty], recursive=True) == ([empty], [f"{empty}: no images in this folder"])


def test_unreadable_folder_is_kept(
    public_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    locked = public_folder / "locked"
    locked.mkdir(mode=0)
    with as_nobody():
        found = expand([locked, public_folder / "a.jpg"])
    assert found == ([locked, public_folder / "a.jpg"], [f"{locked}: Permission denied"])


def test_too_long_name_raises_nothing(folder: Path) -> None:
    given = [folder / ("x" * 300 + ".png"), folder / "a.jpg"]
    assert expand(given) == (given, [])


def test_unreadable_parent_folder_raises_nothing(
    public_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    locked = public_folder / "locked"
    locked.mkdir(mode=0)
    given = [locked / "x.png", public_folder / "a.jpg"]
    with as_nobody():
        found = expand(given)
    assert found == (given, [])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("[a-c].*", ["a.jpg", "b.PNG", "c.tiff"]),
        ("?", ["g"]),
        ("**/*.tif*", ["c.tiff", "sub/x/i.tif"]),
        ("s*/*.jpeg", ["sub/h.jpeg"]),
        # Folders are not searched, files of any name match.
        ("*", ["a.jpg", "b.PNG", "c.tiff", "d.dcm", "e.webp", "f.bmp", "g", "notes.txt"]),
        (".*", [".hidden.png"]),
    ],
)
def test_patterns(pattern: str, expected: list[str], folder: Path) -> None:
    (folder / ".hidden.png").touch()
    files, notes = expand([folder / pattern])
    assert (names(files, folder), notes) == (expected, [])


def test_relative_pattern(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert expand([Path("*.jpg")]) == ([Path("a.jpg")], [])


@pytest.mark.parametrize("pattern", ["*.gif", "none/*.png", "**x/*.png"])
def test_pattern_without_a_match_is_kept(pattern: str, folder: Path) -> None:
    assert expand([folder / pattern]) == ([folder / pattern], [f"{folder / pattern}: no file matches"])


def test_existing_file_is_not_a_pattern(folder: Path) -> None:
    odd = folder / "[a].png"
    odd.touch()
    (folder / "a.png").touch()
    assert expand([odd]) == ([odd], [])


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_link_to_a_parent_folder_does_not_loop(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder)
    assert names(expand([folder / "**" / "*.tif"])[0], folder) == ["sub/x/i.tif"]
    assert names(expand([folder], recursive=True)[0], folder) == [*FLAT[:6], "sub/h.jpeg", "sub/x/i.tif", "y.png"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a.png\nb c.png", ["a.png", "b c.png"]),
        (b"\xef\xbb\xbfa.png\r\n\r\nb.png\r\n", ["a.png", "b.png"]),
        # As PowerShell 5 writes a list.
        ("a.png\r\nK\u00f6rper b.png\r\n".encode("utf-16"), ["a.png", "K\u00f6rper b.png"]),
        (b"\xfe\xff" + "\u9aa8.png\n".encode("utf-16-be"), ["\u9aa8.png"]),
        (b"a\nb.png\0c\r.png\0", ["a\nb.png", "c\r.png"]),
    ],
)
def test_list(data: bytes, expected: list[str]) -> None:
    assert [str(path) for path in read_list(io.BytesIO(data))] == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not text")
def test_list_of_names_that_are_not_utf8() -> None:
    assert [os.fsencode(path) for path in read_list(io.BytesIO(b"\xff.png\n"))] == [b"\xff.png"]
    # It begins like UTF-16, but has no NUL.
    assert [os.fsencode(path) for path in read_list(io.BytesIO(b"\xff\xfe.png\n\n"))] == [b"\xff\xfe.png"]


def test_folders_on_stdin_are_searched_and_patterns_are_literal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = f"{folder / 'sub' / 'x'}\n{folder}/*.jpg\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    files, notes = expand([folder / "a.jpg", Path("-")])
    assert (names(files, folder), notes) == (["a.jpg", "sub/x/i.tif", "*.jpg"], [])


def test_what_is_left_out_is_named_with_counts(folder: Path) -> None:
    for name in ("more.txt", "list.csv", "._a.jpg", ".DS_Store", ".ipynb_checkpoints/a.png", "@eaDir/b.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    others = "4 files that are not images (.txt 2, no suffix, .csv)"
    hidden = "3 hidden images and folders (._a.jpg, .ipynb_checkpoints, @eaDir)"
    found, notes = expand([folder])
    assert names(found, folder) == FLAT
    assert notes == [
        f"{folder}: left out: {others}",
        f"{folder}: left out: {hidden}",
        f"{folder}: left out: 1 sub-folders; -r searches them too",
    ]
    found, notes = expand([folder], recursive=True)
    assert names(found, folder) == [*FLAT[:6], "sub/h.jpeg", "sub/x/i.tif", "y.png"]
    assert notes == [f"{folder}: left out: {others}", f"{folder}: left out: {hidden}"]
    assert names(expand([folder / "**" / "*.jp*g"])[0], folder) == ["a.jpg", "sub/h.jpeg"]


def test_sub_folder_without_permission_is_named(
    public_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    (public_folder / "a.jpg").touch()
    locked = public_folder / "locked"
    locked.mkdir(mode=0)
    with as_nobody():
        found = expand([public_folder], recursive=True)
    assert found == (
        [public_folder / "a.jpg"],
        [f"{public_folder}: left out: folder {locked} (Permission denied)"],
    )


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        (".a.png", True),
        ("._a.png", True),
        (".ipynb_checkpoints", True),
        ("~a.png", True),
        ("a.png~", True),
        ("@eaDir", True),
        ("__MACOSX", True),
        ("#recycle", True),
        ("a.png", False),
        ("_a.png", False),
        ("@home", False),
    ],
)
def test_is_hidden(name: str, hidden: bool) -> None:
    assert is_hidden(name) == hidden
