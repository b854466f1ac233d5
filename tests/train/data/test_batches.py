import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from fracture_edge.preprocess import Preprocessing
from train.data.batches import Batches, batch_multiple, class_weights, fingerprint, load_pixels
from train.data.dataset import DataError, read_splits, read_table

SPLITS = "path,label,split,group\nnormal/b.png,0,train,b\nfractured/a.jpg,1,val,a\n"


@pytest.fixture
def root(tmp_path: Path, make_dataset: Callable[..., Path], make_picture: Callable[..., np.ndarray]) -> Path:
    files = {"fractured/a.jpg": make_picture(1, 300, 200), "normal/b.png": 2, "normal/c.png": 3}
    return make_dataset(tmp_path / "data", files)


@pytest.mark.parametrize("preprocessing", [Preprocessing(40, 48), Preprocessing(32, 32, "stretch", "box")])
def test_pixels_are_those_of_the_device(root: Path, preprocessing: Preprocessing) -> None:
    table = read_table(root)
    pixels = load_pixels(table, preprocessing)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, preprocessing.height, preprocessing.width, 1))
    for row, name in enumerate(("fractured/a.jpg", "normal/b.png", "normal/c.png")):
        np.testing.assert_array_equal(pixels[row], preprocessing.load(root / name))


def test_broken_images_are_named_and_counted(root: Path) -> None:
    for name in ("b", "c"):
        (root / f"normal/{name}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_pixels(read_table(root), Preprocessing(32, 32))
    assert str(caught.value).startswith(
        f"2 images cannot be read, first: {root / 'normal/b.png'}: the file is empty"
    )


def test_fingerprint_by_hand(root: Path) -> None:
    lines = ""
    for path, label in (("fractured/a.jpg", 1), ("normal/b.png", 0), ("normal/c.png", 0)):
        lines += f"{path}\t{label}\t\t{hashlib.sha256((root / path).read_bytes()).hexdigest()}\n"
    assert fingerprint(read_table(root)) == hashlib.sha256(lines.encode()).hexdigest()


def test_fingerprint_changes_with_what_matters(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "splits.csv"
    file.write_text(SPLITS)
    table = read_splits(root, file)
    first = fingerprint(table)

    header, b, a = SPLITS.splitlines()
    file.write_text("\n".join([header, a, b]))
    assert fingerprint(read_splits(root, file)) == first  # the order of the rows

    file.write_text(SPLITS.replace("val", "test"))
    assert fingerprint(read_splits(root, file)) != first
    items = (dataclasses.replace(table.items[0], label=0), *table.items[1:])
    assert fingerprint(dataclasses.replace(table, items=items)) != first
    content = (root / "normal/b.png").read_bytes()
    (root / "normal/b.png").write_bytes(content + b"\0")
    assert fingerprint(table) != first
    (root / "normal/b.png").write_bytes(content)
    assert fingerprint(table) == first


def test_class_weights() -> None:
    labels = [0] * 30 + [1] * 10
    assert class_weights(labels) == {0: 40 / 60, 1: 40 / 20}
    weights = [class_weights(labels)[label] for label in labels]
    # Both classes sum to the same, and the mean is 1.
    assert sum(weights[:30]) == pytest.approx(sum(weights[30:]), rel=1e-12)
    assert sum(weights) == pytest.approx(40, rel=1e-12)


def _numbered(count: int) -> np.ndarray:
    """Images of one grey level each, their number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 1))


def _epoch(batches: Batches) -> list[int]:
    return [int(image[0, 0, 0]) for index in range(len(batches)) for image in batches[index][0]]


def test_batches_in_order() -> None:
    labels = [0, 1, 0, 0, 1, 1, 0]
    batches = Batches(_numbered(7), labels, batch_size=3, weights={0: 0.5, 1: 2.0})
    assert len(batches) == 3
    assert not batches.has_masks
    assert [len(batches[index][0]) for index in range(3)] == [3, 3, 1]
    images, targets, weights = batches[1]
    assert images[:, 0, 0, 0].tolist() == [3, 4, 5]
    assert (images.shape, images.dtype) == ((3, 4, 4, 1), np.uint8)
    assert targets.tolist() == [[0.0], [1.0], [1.0]]
    assert weights.tolist() == [0.5, 2.0, 2.0]
    batches.start_epoch(1)
    assert _epoch(batches) == list(range(7))


def test_batches_without_weights() -> None:
    assert Batches(_numbered(2), [0, 1], batch_size=2)[0][2].tolist() == [1.0, 1.0]


def test_shuffled_batches() -> None:
    labels = [n % 2 for n in range(20)]

    def epochs(seed: int) -> list[list[int]]:
        batches = Batches(_numbered(20), labels, batch_size=6, seed=seed)
        orders = []
        for number in range(3):
            batches.start_epoch(number)
            orders.append(_epoch(batches))
            for index in range(len(batches)):
                images, targets, _ = batches[index]
                assert (images[:, 0, 0, 0] % 2 == targets[:, 0]).all()
        # Only the number of the epoch counts, not what was sampled before.
        batches.start_epoch(1)
        assert _epoch(batches) == orders[1]
        return orders

    first = epochs(seed=5)
    assert all(sorted(order) == list(range(20)) for order in first)
    assert len({tuple(order) for order in [list(range(20)), *first]}) == 4
    assert epochs(seed=5) == first
    assert epochs(seed=6) != first


def test_masks_are_the_second_channel() -> None:
    pixels = _numbered(9)
    batches = Batches(pixels, [0, 1, 1] * 3, batch_size=4, masks=pixels + np.uint8(100), seed=1)
    assert batches.has_masks
    for index in range(3):
        images = batches[index][0]
        assert images.shape[1:] == (4, 4, 2)
        np.testing.assert_array_equal(images[..., 1], images[..., 0] + 100)


@pytest.mark.parametrize(
    ("backend", "images", "sharing", "expected"),
    [("jax", 100, 1, 32), ("jax", 32, 2, 32), ("jax", 31, 2, 2), ("tensorflow", 100, 1, 1), ("torch", 100, 1, 1)],
)
def test_jax_has_full_batches_only(
    backend: str, images: int, sharing: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert batch_multiple(32, images, sharing) == expected


def test_the_remainder_of_an_epoch_is_skipped() -> None:
    pixels = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    batches = Batches(pixels, [0, 1] * 3 + [0], batch_size=2, seed=0, multiple=2)
    epochs = []
    for number in range(2):
        batches.start_epoch(number)
        seen = [batches[index][0].ravel().tolist() for index in range(len(batches))]
        assert [len(part) for part in seen] == [2, 2, 2]
        epochs.append({image for part in seen for image in part})
    # Each epoch leaves out one image, by its own order.
    assert [len(seen) for seen in epochs] == [6, 6]
    assert epochs[0] != epochs[1]
