"""Steps of an export in processes of their own: one that dies or runs out of memory costs only itself.

They end with the export, and write into its working folder only, temporary files included.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from export.manifest import REJECTED
from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import clear_temporaries
from train.export_record import MANIFEST
from train.json_records import from_plain

Result = TypeVar("Result")


class StepError(FractureEdgeError):
    """A step failed; the text says why."""


def run_step(
    step: str, arguments: Mapping[str, Any], kind: type[Result], *, quiet: bool = True
) -> tuple[Result, int]:
    """Run a step of `export.steps` and wait for it.

    Args:
        step: Name of the function.
        arguments: Its arguments, as JSON can hold them; ``work`` is the working folder.
        kind: Class of its result.
        quiet: Keep what it writes to stderr for the error message; converters talk much.

    Returns:
        What it returned, and the peak memory of its process in MB (10^6 bytes).

    Raises:
        StepError: It raised, or was killed.
    """
    with tempfile.TemporaryDirectory(prefix="step-", dir=arguments["work"]) as folder:
        result, job = Path(folder) / "result.json", Path(folder) / "job.json"
        # A file, because one argument of a command may hold 128 kB only: labels and groups of 3,000 images.
        task = {"step": step, "arguments": dict(arguments), "result": str(result), "parent": os.getpid()}
        job.write_text(json.dumps(task), encoding="utf-8")
        # -P: a file called export.py where the user stands must not hide the package.
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-P", "-m", "export.steps", str(job)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if quiet else None,
            # Converters leave temporary files as large as the model when they are killed.
            env=os.environ | {"TMPDIR": folder},
            check=False,
        )
        if result.is_file():
            answer = json.loads(result.read_text(encoding="utf-8"))
            if "error" in answer:
                raise StepError(answer["error"])
            return from_plain(kind, answer["result"], step), answer["peak_memory_mb"]
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        hint = ": out of memory?" if name == "SIGKILL" else ""
        raise StepError(f"{step} was killed by {name}{hint}")
    last = (done.stderr or b"").decode(errors="replace").strip().splitlines()
    raise StepError(f"{step} failed: {last[-1] if last else f'exit status {done.returncode}'}")


@contextmanager
def working_folder(artifacts: Path, name: str) -> Iterator[Path]:
    """A hidden folder beside the models: on their disk, so that a finished file is moved in one step.

    What an export that was killed left there, and among the model's files, goes; whoever calls holds the lock on
    the model.
    """
    for left in artifacts.glob(f".{name}.export-*"):
        shutil.rmtree(left, ignore_errors=True)
    for folder in (artifacts / name, artifacts / name / REJECTED):
        clear_temporaries(folder, MANIFEST, "*.onnx", "*.tflite")
    with tempfile.TemporaryDirectory(prefix=f".{name}.export-", dir=artifacts) as work:
        yield Path(work)
