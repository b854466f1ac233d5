"""Data with boxes around fractures, and a tiny `edge` to train on it."""

from collections.abc import Callable
from pathlib import Path

import pytest

EDGE = """
architecture = "edge"
batch_size = 8
localisation = 1.0
options = { filters = 0.125, depth = 0.3 }
preprocessing = { height = 32, width = 32 }
phases = [{ epochs = 1, learning_rate = 1e-3 }]
"""


@pytest.fixture
def write_marked_bones(
    write_bones: Callable[..., Path], mark_bones: Callable[[Path], Path]
) -> Callable[[Path], Path]:
    """Function that writes data with boxes, splits.csv and edge.toml into a folder."""

    def write(folder: Path) -> Path:
        data = mark_bones(write_bones(folder / "data", 10, splits=("train", "val"), height=64, width=64))
        (folder / "edge.toml").write_text(EDGE)
        return data

    return write
