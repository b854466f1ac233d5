"""Cross-validated regression on frozen features: images of the training and the evaluation."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.studies.edge_model import frozen_features
from benchmarks.studies.edge_model.frozen_features import SHARES, STRENGTHS, FrozenFeatures, Pool, table_of
from fracture_edge.errors import FractureEdgeError
from train.architectures import edge
from train.data.dataset import ImageTable, Item
from train.json_records import from_plain, read_json

LABELS = [k % 5 == 0 for k in range(200)]


@pytest.fixture
def pool() -> Pool:
    """Return 200 images in 50 groups, each in one of five folds."""
    items = tuple(Item(f"{k:03}.png", int(label), group=f"g{k % 50}") for k, label in enumerate(LABELS))
    return Pool(ImageTable(Path(), "class_folders", items), np.arange(200) % 50 // 10, seed=0)


def test_two_folds_are_not_trained_on_and_one_is_evaluated(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the regression by one that records its training images and scores images by their index."""
    rounds = []
    plain = np.arange(200.0)[:, np.newaxis]

    def regress(features: np.ndarray, labels: np.ndarray, **how: object) -> tuple[np.ndarray, float]:
        assert (len(features), how) == (len(labels), {"balanced": True, "strength": 0.5})
        rounds.append((features[: len(features) // 2, 0].astype(int), labels))
        np.testing.assert_array_equal(features[len(features) // 2 :], features[: len(features) // 2] + 1000)
        return np.array([1.0]), 0.0

    monkeypatch.setattr(frozen_features, "regress", regress)
    row = pool.cross_validate(plain, plain + 1000, size=288, strength=0.5, share=1.0)
    assert len(rounds) == 5
    for fold, (rows, labels) in enumerate(rounds):
        assert set(np.arange(200)[np.isin(pool.folds, (fold, (fold + 1) % 5))]) == set(range(200)) - set(rows)
        assert labels.tolist() == [LABELS[row] for row in rows] * 2
    # The scores are the indices of the images.
    assert row.auroc.value == pytest.approx(roc_auc_score(LABELS, np.arange(200)))
    assert (row.size, row.training_images, row.share, row.strength) == (288, 120, 1.0, 0.5)


def test_a_share_is_sampled_from_the_training_images(pool: Pool) -> None:
    random = np.random.default_rng(0)
    informative = np.array(LABELS)[:, np.newaxis] + random.normal(0, 0.1, (200, 3))
    assert pool.cross_validate(informative, informative, size=288, strength=1.0, share=1.0).auroc.value == 1.0
    # Whole groups of four images each.
    assert pool.cross_validate(
        informative, informative, size=288, strength=1.0, share=0.5
    ).training_images == pytest.approx(62, abs=3)
    with pytest.raises(FractureEdgeError, match=r"a share of 0\.01 of the training images lacks a class"):
        pool.cross_validate(informative, informative, size=288, strength=1.0, share=0.01)
    noise = random.normal(0, 1, (200, 3))
    assert 0.3 < pool.cross_validate(noise, noise, size=288, strength=1.0, share=1.0).auroc.value < 0.7


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write initial weights of an edge network with three blocks."""
    monkeypatch.setattr(edge, "STAGES", edge.STAGES[:2])
    keras.utils.set_random_seed(0)
    path = tmp_path / "start.keras"
    edge.build(64, 64).save(path)
    return path


def test_the_command(
    weights: Path,
    tmp_path: Path,
    bone: Callable[..., np.ndarray],
    study: Callable[..., tuple[int, str, str]],
) -> None:
    from PIL import Image

    for k in range(120):
        folder = tmp_path / "data" / ("fractured" if k % 2 else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(bone(k, fractured=bool(k % 2), height=64, width=64)).save(folder / f"{k}.png")
    output = tmp_path / "frozen.json"
    command = ["frozen-features", "--data", tmp_path / "data", "--weights", weights, "--size", 64]
    code, out, _ = study(*command, "-o", output)
    assert code == 0
    result, found = json.loads(output.read_text()), from_plain(FrozenFeatures, read_json(output), "")
    assert out == table_of(found)
    assert (result["weights"], result["images"], result["fractured"]) == ("start.keras", 120, 60)
    plan = [(row["strength"], row["share"]) for row in result["rows"]]
    # 1.28 / 1280 features is the usual penalty.
    assert plan == [(pytest.approx(times * 1e-3), 1.0) for times in STRENGTHS] + [
        (pytest.approx(1e-3), share) for share in SHARES
    ]
    assert (result["variant"], result["deep_evidence"]) == ("lite0", False)
    lines = table_of(found).splitlines()
    assert lines[2].startswith("| 64x64 | 0.0001 | 72 | 0.")
    code, _, err = study(*command[:3], "-o", output, "--weights", tmp_path / "none.npz")
    assert code == 1
    assert re.search(r"^error: .*none\.npz: no such weights file", err, re.MULTILINE)
