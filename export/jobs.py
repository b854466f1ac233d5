"""Run the steps of an export in separate processes, so that a crash or lack of memory affects only one step.

The processes end with the export and write only to its working folder, including temporary files.
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
    """Error of a step; the message gives the reason."""


def run_step(
    step: str, arguments: Mapping[str, Any], kind: type[Result], *, quiet: bool = True
) -> tuple[Result, int]:
    """Run a step of `export.steps` in a process and wait for it.

    Args:
        step: Name of the function.
        arguments: Arguments of the function, serialisable as JSON; ``work`` is the working folder.
        kind: Class of the result.
        quiet: Capture stderr, of which the last line is used in the error message; converters write much to it.

    Returns:
        The result of the step, and the peak memory of its process in MB (10^6 bytes).

    Raises:
        StepError: The step raised an error or was killed.
    """
    with tempfile.TemporaryDirectory(prefix="step-", dir=arguments["work"]) as folder:
        result, job = Path(folder) / "result.json", Path(folder) / "job.json"
        # A file, because Linux limits a command-line argument to 128 kB, too little for labels and groups of 3,000
        # images.
        task = {"step": step, "arguments": dict(arguments), "result": str(result), "parent": os.getpid()}
        job.write_text(json.dumps(task), encoding="utf-8")
        # -P: a file named export.py in the current folder must not hide the package.
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-P", "-m", "export.steps", str(job)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if quiet else None,
            # Killed converters leave temporary files as large as the model.
            env=os.environ | {"TMPDIR": folder},
            check=False,
        )
        if result.is_file():
            reply = json.loads(result.read_text(encoding="utf-8"))
            if "error" in reply:
                raise StepError(reply["error"])
            return from_plain(kind, reply["result"], step), reply["peak_memory_mb"]
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        hint = ": out of memory?" if name == "SIGKILL" else ""
        raise StepError(f"{step} was killed by {name}{hint}")
    last = (done.stderr or b"").decode(errors="replace").strip().splitlines()
    raise StepError(f"{step} failed: {last[-1] if last else f'exit status {done.returncode}'}")


@contextmanager
def working_folder(artifacts: Path, name: str) -> Iterator[Path]:
    """Create a hidden working folder beside the models, and remove it at the end.

    It is on the disk of the models, so that a finished file can be moved in one step. Remains of killed exports,
    there and among the model's files, are removed; the caller must hold the lock on the model.

    Args:
        artifacts: Folder of all artefacts.
        name: Name of the model.

    Yields:
        Path of the working folder.
    """
    for left in artifacts.glob(f".{name}.export-*"):
        shutil.rmtree(left, ignore_errors=True)
    for folder in (artifacts / name, artifacts / name / REJECTED):
        clear_temporaries(folder, MANIFEST, "*.onnx", "*.tflite")
    with tempfile.TemporaryDirectory(prefix=f".{name}.export-", dir=artifacts) as work:
        yield Path(work)
