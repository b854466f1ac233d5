import errno
import os
import sys
from pathlib import Path

import keras
import pytest

from train.trainer.weights_file import require_room, save_weights

resource = pytest.importorskip("resource")


@pytest.fixture
def model() -> keras.Model:
    network = keras.Sequential([keras.Input((100,)), keras.layers.Dense(1000)])
    network.compile("adam", "mse")
    network.optimizer.build(network.trainable_variables)
    return network


def test_room_is_as_large_as_the_file(model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("train.trainer.weights_file.require_room", lambda path, size: asked.append(size))
    path = tmp_path / "a.weights.h5"
    save_weights(model, path)
    # Weights and two moments of Adam, 101,000 values each.
    assert 3 * 101_000 * 4 < path.stat().st_size <= asked[0] < 1.2 * path.stat().st_size


def test_model_that_was_never_compiled(tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)])
    save_weights(network, tmp_path / "a.weights.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_no_room(tmp_path: Path, model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    path = tmp_path / "a.weights.h5"
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_weights(model, path)
    assert (caught.value.filename, list(tmp_path.iterdir())) == (str(path), [])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems fail at other sizes")
def test_limit_on_the_size_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        require_room(path, 1 << 20)
        with pytest.raises(OSError, match="File too large"):
            require_room(path, (1 << 20) + 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
