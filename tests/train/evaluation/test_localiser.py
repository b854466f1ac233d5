"""Localiser: positions that it is fitted to, what it finds, and its log-odds in the graph."""

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest

from fracture_edge.errors import FractureEdgeError
from train.architectures import build
from train.evaluation import localiser
from train.evaluation.localiser import (
    Localiser,
    averaged,
    fit_localiser,
    graph_log_odds,
    load_localiser,
    map_layers,
    maps_of,
    sample_positions,
    split,
)


def _masks(count: int, side: int = 32) -> npt.NDArray[np.uint8]:
    return np.zeros((count, side, side, 1), np.uint8)


def test_positions_of_boxes_and_as_many_of_both_kinds_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localiser, "MOST_POSITIONS", 6)
    masks = _masks(4)
    # Positions have 8 pixels: a quarter of (0, 0) is covered, half of (0, 1), and less than a quarter of (0, 2).
    masks[0, 0:4, 4:16] = 255
    masks[0, 0:1, 16:18] = 255
    # The third is fractured and has no box: where its fracture is nobody knows.
    covered, sampled = sample_positions(masks, np.array([1, 0, 1, 0]), (4, 4), seed=0)
    assert np.argwhere(covered).tolist() == [[0, 0, 0], [0, 0, 1]]
    assert sampled[[0, 1, 2, 3]].sum(axis=(1, 2)).tolist()[2] == 0
    assert sampled[0].sum() == 3
    assert sampled[[1, 3]].sum() == 3
    assert not sampled[0, 0, :3].any()


def test_the_last_positions_may_reach_beyond_the_image() -> None:
    # Three positions of 11 pixels on 32: one row and one column lie outside, and count as free.
    masks = _masks(2)
    masks[0, 29:, 29:] = 255
    masks[0, 11:22, :11] = 255
    covered, sampled = sample_positions(masks, np.array([1, 0]), (3, 3), seed=0)
    assert np.argwhere(covered).tolist() == [[0, 1, 0]]
    assert not sampled[0, 2, 2]
    assert sampled[1].all()


def test_a_position_is_averaged_with_its_neighbours() -> None:
    maps = np.arange(12.0).reshape(1, 3, 4, 1)
    found = averaged(maps)[0, :, :, 0]
    assert found[1, 1] == maps[0, 0:3, 0:3].mean() == 5.0
    assert found[0, 0] == maps[0, 0:2, 0:2].mean() == 2.5
    assert found[2, 3] == maps[0, 1:3, 2:4].mean() == 8.5
    # A map of one position has no neighbours.
    assert averaged(np.full((1, 1, 1, 1), 7.0)).item() == 7.0


def _maps_of(positive: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.float32]]:
    """Feature maps whose channel 1 is high where a box covers the position; the rest is noise."""
    random = np.random.default_rng(1)
    for start in range(0, len(positive), 5):
        part = positive[start : start + 5]
        maps = random.normal(size=(*part.shape, 3)).astype(np.float32)
        maps[..., 1] += 9 * part
        yield maps


def test_what_tells_a_fracture_is_found() -> None:
    random = np.random.default_rng(0)
    masks, labels = _masks(40, 64), np.arange(40) % 2
    for row in np.flatnonzero(labels):
        top, left = 8 * random.integers(8, size=2)
        masks[row, top : top + 8, left : left + 8] = 255
    positive = masks[:, ::8, ::8, 0] > 0
    found = fit_localiser(_maps_of(positive), masks, labels, seed=0, strength=100.0)
    assert found.kernel.shape == (3,)
    assert np.argmax(np.abs(found.kernel)) == 1
    log_odds = np.concatenate([found.log_odds(maps) for maps in _maps_of(positive)])
    assert log_odds.shape == (40, 8, 8)
    for row in np.flatnonzero(labels):
        peak = np.unravel_index(log_odds[row].argmax(), (8, 8))
        # Averaged over neighbours, the largest may be one of them.
        assert np.abs(np.subtract(peak, np.argwhere(positive[row])[0])).max() <= 1
    # The chances are of the size of the share that is covered, and not a half as in a balanced fit.
    chances = 1 / (1 + np.exp(-log_odds))
    assert chances.mean() == pytest.approx(20 / 2560, abs=0.03)


def test_without_a_box_there_is_nothing_to_fit() -> None:
    with pytest.raises(FractureEdgeError, match="no box covers a position"):
        fit_localiser([np.zeros((2, 4, 4, 3), np.float32)], _masks(2), np.array([0, 1]), seed=0)


def test_the_maps_of_edge_and_of_no_other_network() -> None:
    names = ("block08_expand_relu", "block11_expand_relu")
    assert map_layers(build("edge", 96, 64, filters=0.1)) == names
    # 272 pixels have 9 positions in the last map and 17 in the one before.
    assert map_layers(build("edge", 272, 224, filters=0.1)) == ()
    assert map_layers(build("custom_cnn", 64, 64, filters=(4, 6, 8), units=16)) == ()


def test_in_the_graph_it_is_what_it_is_in_numpy(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    network = build("edge", 96, 64, filters=0.1)
    random = np.random.default_rng(0)
    # More than one batch, whose last is not full.
    pixels = random.integers(256, size=(33, 96, 64, 1), dtype=np.uint8)
    maps = list(maps_of(network, pixels))
    assert [part.shape[:3] for part in maps] == [(32, 6, 4), (1, 6, 4)]
    drawn = Localiser(random.normal(size=maps[0].shape[-1]), -3.5)
    drawn.save(tmp_path / "localiser.npz")
    kept = load_localiser(tmp_path / "localiser.npz")
    graph = keras.Model(network.input, graph_log_odds(network, kept))
    wanted = np.concatenate([drawn.log_odds(part) for part in maps])
    # Sums of a hundred float32 products of about 1.
    np.testing.assert_allclose(graph.predict_on_batch(pixels)[..., 0], wanted, atol=1e-4)


def test_outputs_that_were_multiplied_are_divided_again() -> None:
    network = build("edge", 96, 64, filters=0.1)
    widths = [network.get_layer(name).output.shape[-1] for name in map_layers(network)]
    drawn = Localiser(np.ones(sum(widths)), 0.5)
    factor = np.linspace(0.5, 2.0, widths[1])
    graph = keras.Model(network.input, graph_log_odds(network, drawn, {"block11_expand_relu": factor}))
    kernel, bias = graph.get_layer("localiser_block08_expand_relu").get_weights()
    assert (set(kernel.ravel()), bias.item()) == ({1.0}, 0.5)
    (kernel,) = graph.get_layer("localiser_block11_expand_relu").get_weights()
    np.testing.assert_allclose(kernel[0, 0, :, 0], 1 / factor, rtol=1e-6)


def test_a_localiser_of_another_network_is_refused() -> None:
    with pytest.raises(FractureEdgeError, match=r"localiser\.npz: 3 channels, but the network has"):
        graph_log_odds(build("edge", 96, 64, filters=0.1), Localiser(np.ones(3), 0.0))
    assert [part.tolist() for part in split(Localiser(np.arange(3.0), 0.0), [1, 2])] == [[0.0], [1.0, 2.0]]


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "localiser.npz"
    path.write_bytes(b"PK")
    with pytest.raises(FractureEdgeError, match="cannot be read"):
        load_localiser(path)
