from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fracture_edge.inputs import expand


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


def test_recursive(folder: Path) -> None:
    assert names(expand([folder], recursive=True)[0], folder) == [*FLAT[:6], "sub/h.jpeg", "sub/x/i.tif", "y.png"]


def test_named_files_stay_whatever_they_are(folder: Path) -> None:
    given = [folder / "notes.txt", folder / "missing", folder / "y.png", folder / "g", folder / "g"]
    assert expand(given) == (given, [])


def test_order_of_arguments_is_kept(folder: Path) -> None:
    given = [folder / "sub" / "x", folder / "notes.txt", folder / "sub"]
    assert names(expand(given)[0], folder) == ["sub/x/i.tif", "notes.txt", "sub/h.jpeg"]


def test_nothing_given() -> None:
    assert expand([]) == ([], [])


def test_folder_without_images_stands_for_itself(folder: Path) -> None:
    empty = folder / "sub"
    (empty / "h.jpeg").unlink()
    files, notes = expand([folder / "a.jpg", empty])
    assert files == [folder / "a.jpg", empty]
    assert notes == [f"{empty}: no images in this folder; -r looks into its sub-folders"]
    (empty / "x" / "i.tif").unlink()
    assert expand([empty], recursive=True) == ([empty], [f"{empty}: no images in this folder"])


def test_locked_folder_stands_for_itself(
    public_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    locked = public_folder / "locked"
    locked.mkdir(mode=0)
    with as_nobody():
        found = expand([locked, public_folder / "a.jpg"])
    assert found == ([locked, public_folder / "a.jpg"], [f"{locked}: Permission denied"])


def test_name_that_is_too_long_stops_nothing(folder: Path) -> None:
    given = [folder / ("x" * 300 + ".png"), folder / "a.jpg"]
    assert expand(given) == (given, [])


def test_locked_folder_on_the_way_stops_nothing(
    public_folder: Path, as_nobody: Callable[[], AbstractContextManager[None]]
) -> None:
    locked = public_folder / "locked"
    locked.mkdir(mode=0)
    given = [locked / "x.png", public_folder / "a.jpg"]
    with as_nobody():
        found = expand(given)
    assert found == (given, [])
