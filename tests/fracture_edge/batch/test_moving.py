import errno
import os
from pathlib import Path

import pytest

from fracture_edge.batch.moving import move


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "inbox" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"content")
    os.utime(path, ns=(5, 5))
    return path


@pytest.fixture
def other_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "rename", rename)


def test_move(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "done" / "sub" / "a.png"
    assert move(file, target, is_unchanged=lambda: True)
    assert (file.exists(), target.read_bytes(), target.stat().st_mtime_ns) == (False, b"content", 5)


def test_existing_file_is_kept(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"mine")
    assert move(file, tmp_path / "a.png", is_unchanged=lambda: True)
    assert (tmp_path / "a.png").read_bytes() == b"mine"
    assert (tmp_path / "a-2.png").read_bytes() == b"content"


@pytest.mark.usefixtures("other_file_system")
def test_move_to_another_file_system(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "done" / "a.png"
    assert move(file, target, is_unchanged=lambda: True)
    assert (file.exists(), target.read_bytes(), target.stat().st_mtime_ns) == (False, b"content", 5)


def test_changed_file_stays(file: Path, tmp_path: Path) -> None:
    assert not move(file, tmp_path / "done" / "a.png", is_unchanged=lambda: False)
    assert (file.read_bytes(), list((tmp_path / "done").iterdir())) == (b"content", [])


@pytest.mark.usefixtures("other_file_system")
def test_file_that_changes_while_it_is_copied_stays(file: Path, tmp_path: Path) -> None:
    looks = iter((True, False))
    assert not move(file, tmp_path / "done" / "a.png", is_unchanged=lambda: next(looks))
    assert (file.read_bytes(), list((tmp_path / "done").iterdir())) == (b"content", [])


@pytest.mark.usefixtures("other_file_system")
def test_full_disk_leaves_nothing_and_the_next_attempt_moves(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "done" / "a.png"

    def copy(source: Path, temporary: Path) -> None:
        temporary.write_bytes(source.read_bytes()[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copy2", copy)
        with pytest.raises(OSError, match="No space left"):
            move(file, target, is_unchanged=lambda: True)
    assert (file.read_bytes(), list(target.parent.iterdir())) == (b"content", [])
    assert move(file, target, is_unchanged=lambda: True)
    assert (file.exists(), target.read_bytes()) == (False, b"content")


@pytest.mark.usefixtures("other_file_system")
def test_file_that_cannot_be_removed_leaves_no_copy(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == file:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        move(file, tmp_path / "done" / "a.png", is_unchanged=lambda: True)
    assert (file.read_bytes(), list((tmp_path / "done").iterdir())) == (b"content", [])
