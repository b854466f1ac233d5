"""A quantised file's mean answer is that of the float network again."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from scipy.special import expit, logit

from export.keras_passes import recentre_bias as module
from export.keras_passes.recentre_bias import log_odds_shift, recentre_bias

RANDOM = np.random.default_rng(0)
PROBABILITIES = expit(RANDOM.normal(-1.0, 2.0, 200))


@pytest.mark.parametrize("shift", [-1.5, -0.01, 0.0, 0.3, 4.0])
def test_a_shift_is_found(shift: float) -> None:
    found = expit(logit(PROBABILITIES) + shift)
    # As far as the root is sought.
    assert log_odds_shift(PROBABILITIES, found) == pytest.approx(shift, abs=1e-9)


def test_answers_of_8_bits_that_end_at_0() -> None:
    found = np.floor(expit(logit(PROBABILITIES) - 1.0) * 256) / 256
    assert found.min() == 0
    # Cut off to steps of 1/256 they are lower by half a step on average, which is some hundredths in log-odds.
    assert log_odds_shift(PROBABILITIES, found) == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_a_file_that_always_answers_alike_is_left(answer: float) -> None:
    assert log_odds_shift(PROBABILITIES, np.full(len(PROBABILITIES), answer)) == 0.0


@pytest.mark.parametrize("heatmap", [False, True])
def test_the_last_bias_takes_it(
    monkeypatch: pytest.MonkeyPatch, bone: Callable[..., Any], tmp_path: Path, heatmap: bool
) -> None:
    image = keras.Input((32, 24, 1), dtype="uint8")
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    probability = keras.layers.Dense(1, activation="sigmoid", name="probability")(features)
    alone = keras.Model(image, probability)
    model = keras.Model(image, {"probability": probability, "heatmap": features}) if heatmap else alone
    pixels = np.stack([np.resize(bone(seed, seed % 2 == 1), (32, 24, 1)) for seed in range(8)]).astype(np.uint8)
    before = np.asarray(alone(pixels), np.float64)[:, 0]

    def answers(images: Any) -> Any:
        assert images is pixels
        return expit(logit(before) + 0.4)

    closed: list[bool] = []

    def opened(path: Path, threads: int) -> SimpleNamespace:
        assert path == tmp_path / "file.tflite"
        return SimpleNamespace(probabilities=answers, close=lambda: closed.append(True))

    monkeypatch.setattr(module, "runner_of", opened)
    recentre_bias(model, tmp_path / "file.tflite", pixels)
    assert closed == [True]
    after = np.asarray(alone(pixels), np.float64)[:, 0]
    # float32.
    np.testing.assert_allclose(logit(after), logit(before) - 0.4, atol=1e-5)
