"""Which models are there."""

from pathlib import Path

import pytest

from fracture_edge.errors import FractureEdgeError
from train.artifacts import trained_models


def test_trained_models_are_the_folders_with_weights(tmp_path: Path) -> None:
    for name in ("b", "a", ".c.unfinished", "empty"):
        (tmp_path / name).mkdir()
    for name in ("b", "a", ".c.unfinished"):
        (tmp_path / name / "model.keras").touch()
    assert trained_models(tmp_path) == ["a", "b"]


def test_a_folder_without_any(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FractureEdgeError, match="no trained model here; `fracture-edge train` makes one"):
        trained_models(tmp_path)
