"""A training process that is killed, and a second one that continues its run."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.slow

RECIPE = """
architecture = "custom_cnn"
batch_size = 4
optimizer = "adamw"
weight_decay = 0.01
ema_momentum = 0.7
monitor = "val_loss"
options = { filters = [4, 6, 8], units = 10 }
preprocessing = { height = 32, width = 32 }
phases = [
    { epochs = 2, learning_rate = 1e-3, trainable = "head" },
    { epochs = 40, learning_rate = 1e-3, schedule = "cosine" },
]
augmentation = { rotation = 5, flip_horizontal = true, mixup = 0.2 }
patience = 0
"""


def _history(path: Path) -> list[list[float]]:
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [[float(value) for name, value in row.items() if name != "seconds"] for row in rows]


@pytest.mark.slow
def test_kill_and_resume(
    tmp_path: Path,
    write_bones: Callable[..., Path],
    run_python: Callable[..., subprocess.CompletedProcess[bytes]],
    repository: Path,
) -> None:
    data = write_bones(tmp_path / "data", 24, splits=("train", "val"), height=48, width=32)
    (tmp_path / "tiny.toml").write_text(RECIPE)

    def command(out: str, *more: str) -> list[str]:
        arguments = ["--data", str(data), "--recipe", "tiny.toml", "--artifacts", out, *more]
        return ["-m", "fracture_edge", "train", "custom_cnn", *arguments]

    working = tmp_path / "cut/.custom_cnn.unfinished"
    process = subprocess.Popen(
        [sys.executable, *command("cut")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.fspath(repository)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        # Into the second phase; far from the end.
        while process.poll() is None and not (working / "state-0006.weights.h5").is_file():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (working / "state.json").is_file()
    assert not (tmp_path / "cut/custom_cnn").exists()

    # The lock went with the process; the run does not start over by default.
    refused = run_python(*command("cut"), cwd=tmp_path)
    assert refused.returncode == 1
    assert b"holds an unfinished run: --resume continues it" in refused.stderr
    assert b"Traceback" not in refused.stderr

    resumed = run_python(*command("cut", "--resume"), cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr.decode()
    whole = run_python(*command("whole"), cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr.decode()
    # It continued and did not start over: fewer epochs were reported.
    assert 0 < resumed.stderr.count(b"\nepoch ") < whole.stderr.count(b"\nepoch ") == 42

    names = sorted(path.name for path in (tmp_path / "whole/custom_cnn").iterdir())
    assert sorted(path.name for path in (tmp_path / "cut/custom_cnn").iterdir()) == names
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["custom_cnn"]
    # Threads may add float32 numbers in another order.
    np.testing.assert_allclose(
        *(_history(tmp_path / name / "custom_cnn/history.csv") for name in ("cut", "whole")), rtol=1e-3, atol=1e-4
    )
    found, expected = (
        keras.saving.load_model(tmp_path / name / "custom_cnn/model.keras", compile=False).get_weights()
        for name in ("cut", "whole")
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)
