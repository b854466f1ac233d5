"""Training steps of two JAX processes that share each batch: the same as those of one process with all of it.

It is what `train` on several machines would rest on (docs/scale.md); `train` itself does not do it yet.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("jax")

STEPS, BATCH = 4, 8
SCRIPT = """
import json, sys
count, rank, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
import jax, keras, numpy as np
if count > 1:
    # Keras would take the first of several GPUs for each; here each process has the one device of its CPU.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.distribution.initialize(address, count, rank)
from train.architectures import build
from train.device import devices_sharing, prepare
flat = lambda model: np.concatenate([np.ravel(np.asarray(weight)) for weight in model.get_weights()])
device = prepare("float32", distribute=count > 1)
keras.utils.set_random_seed(0)
model = build("custom_cnn", 32, 32, filters=(4, 6, 8), units=10)
model.compile(keras.optimizers.SGD(1e-2), "binary_crossentropy")
np.save(sys.argv[5], flat(model))
random, share = np.random.default_rng(0), BATCH // count
losses = []
for step in range(STEPS):
    pixels = random.integers(0, 256, (BATCH, 32, 32, 1), np.uint8)
    labels = (np.arange(BATCH) % 2).astype(np.float32)[:, None]
    mine = slice(rank * share, (rank + 1) * share)
    losses.append(float(model.train_on_batch(pixels[mine], labels[mine])))
np.save(sys.argv[4], flat(model))
print(json.dumps({"losses": losses, "sharing": devices_sharing(), "device": device.name}))
"""


def train(count: int, folder: Path, repository: Path) -> list[dict[str, Any]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    script = SCRIPT.replace("BATCH", str(BATCH)).replace("STEPS", str(STEPS))
    environment = {**os.environ, "PYTHONPATH": os.fspath(repository), "KERAS_BACKEND": "jax"}
    # A flag of another test would give each process several devices.
    environment.pop("XLA_FLAGS", None)
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                script,
                str(count),
                str(rank),
                address,
                folder / f"{count}-{rank}.npy",
                folder / f"start-{count}-{rank}.npy",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]
    try:
        ended = [process.communicate(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * count, ended[-1][1].decode()[-2000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in ended]


def test_same_weights_as_one_process(tmp_path: Path, repository: Path) -> None:
    (alone,) = train(1, tmp_path, repository)
    both = train(2, tmp_path, repository)
    assert alone["sharing"] == 1
    assert [each["sharing"] for each in both] == [2, 2]
    assert all(each["device"].endswith("with jax, batches shared by 2") for each in both)
    expected, first, second, start = (
        np.load(tmp_path / f"{name}.npy") for name in ("1-0", "2-0", "2-1", "start-1-0")
    )
    # Both hold the same network, bit by bit.
    assert np.array_equal(first, second)
    assert both[0]["losses"] == both[1]["losses"]
    # Sums over the batch are added in another order, in float32.
    assert both[0]["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    # SGD, whose steps are proportional to the gradients; not an optimizer that divides by them.
    assert np.abs(first - expected).max() < 1e-5
    assert np.abs(first - expected).max() < 0.01 * np.abs(expected - start).max()
