"""The device imports only numpy, Pillow, onnxruntime and typer, and each only when it is used."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[bytes]]

MODULES_OF_EXTRAS = (
    "tensorflow",
    "keras",
    "tf_keras",
    "sklearn",
    "matplotlib",
    "pandas",
    "onnx",
    "scipy",
    "tqdm",
    "pydicom",
    "highdicom",
    "pynetdicom",
    "starlette",
    "uvicorn",
    "python_multipart",
    "ai_edge_litert",
)

BLOCK = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MODULES_OF_EXTRAS!r}:
            raise ModuleNotFoundError(f"{{name}} was imported", name=name)
sys.meta_path.insert(0, Refuse())
"""
REPORT = "import json; print(json.dumps(sorted(set(sys.modules) - {'json'} | seen)))"


def loaded(run_python: Run, script: str, *arguments: object) -> set[str]:
    """Return the modules that are loaded after `script`, from the last line that it prints."""
    done = run_python("-c", f"{BLOCK}\n{script}\nseen = set(sys.modules)\n{REPORT}", *arguments)
    assert done.stderr == b""
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_else(run_python: Run) -> None:
    modules = loaded(run_python, "import fracture_edge\nassert fracture_edge.__version__")
    assert {name for name in modules if name.startswith("fracture_edge")} == {
        "fracture_edge",
        "fracture_edge._version",
    }
    assert modules.isdisjoint({"numpy", "onnxruntime", "PIL", "typer", "json"})


def test_public_names_are_imported_on_first_use(run_python: Run) -> None:
    modules = loaded(run_python, "import fracture_edge\nassert fracture_edge.Status.OK == 'ok'")
    assert "fracture_edge.errors" in modules
    assert modules.isdisjoint({"numpy", "onnxruntime", "PIL", "fracture_edge.classifier"})


def test_unknown_name() -> None:
    import fracture_edge

    with pytest.raises(AttributeError, match="module 'fracture_edge' has no attribute 'Doctor'"):
        _ = fracture_edge.Doctor


def test_help_does_not_import_numpy(run_python: Run) -> None:
    script = "from fracture_edge.cli import main\nsys.argv[1:] = ['--help']\ntry: main()\nexcept SystemExit: pass"
    modules = loaded(run_python, script)
    # The list of commands imports the command lines of training, and those import only typer.
    assert modules.isdisjoint({"numpy", "onnxruntime", "PIL", "rich"})


@pytest.mark.parametrize("command", ["classify", "serve"])
def test_help_of_a_command_does_not_import_numpy(command: str, run_python: Run) -> None:
    script = (
        f"from fracture_edge.cli import main\nsys.argv[1:] = [{command!r}, '--help']\n"
        "try: main(own_process=True)\nexcept SystemExit: pass"
    )
    modules = loaded(run_python, script)
    assert f"fracture_edge.commands.{command}" in modules
    assert modules.isdisjoint({"numpy", "onnxruntime", "PIL", "rich"})


def test_garbage_collector_is_enabled_again_and_skips_imported_objects(run_python: Run) -> None:
    script = (
        "import gc, sys\nfrom fracture_edge import cli\nfrom fracture_edge.commands import registry as commands\n"
        "commands.app = lambda: print(gc.isenabled(), gc.get_freeze_count() > 10_000)\n"
        "sys.argv[1:] = ['classify', '--json', 'x.png']\ncli.main(own_process=True)"
    )
    done = run_python("-c", script)
    assert (done.stdout, done.stderr) == (b"True True\n", b"")


def test_garbage_collector_of_another_process_is_unchanged(run_python: Run) -> None:
    script = (
        "import gc, sys\nfrom fracture_edge import cli\nfrom fracture_edge.commands import registry as commands\n"
        "commands.app = lambda: print(gc.isenabled(), gc.get_freeze_count())\n"
        "sys.argv[1:] = ['classify', 'x.png']\ncli.main()"
    )
    done = run_python("-c", script)
    assert (done.stdout, done.stderr) == (b"True 0\n", b"")


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_onnxruntime_telemetry_is_off_by_default(before: str | None, after: str, run_python: Run) -> None:
    given = "" if before is None else f"os.environ['ORT_DISABLE_TELEMETRY'] = {before!r}\n"
    script = (
        f"import os\nos.environ.pop('ORT_DISABLE_TELEMETRY', None)\n{given}"
        "import fracture_edge.errors\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = run_python("-c", script)
    assert (done.stdout, done.stderr) == (f"{after}\n".encode(), b"")


PLUGINS = {"png": "PngImagePlugin", "jpg": "JpegImagePlugin", "bmp": "BmpImagePlugin", "webp": "WebPImagePlugin"}


@pytest.mark.parametrize("suffix", PLUGINS)
def test_classify_imports_what_it_needs(suffix: str, run_python: Run, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(np.full((64, 64), 192, np.uint8)).save(path)
    script = "from fracture_edge.cli import main\ntry: main()\nexcept SystemExit as stop: assert stop.code == 0"
    modules = loaded(run_python, script, "classify", path, "--model", tiny_model)
    assert {name for name in modules if name.startswith("PIL.") and name.endswith("Plugin")} == {
        f"PIL.{PLUGINS[suffix]}"
    }
    assert {name.partition(".")[0] for name in modules}.isdisjoint(
        {*MODULES_OF_EXTRAS, "rich", "pydantic", "urllib3", "requests", "train", "export", "benchmarks"}
    )
    # Rotation and DICOM are imported for files that need them.
    assert modules.isdisjoint({"PIL.ImageOps", "fracture_edge.images.dicom"})


def test_paths_without_options_do_not_import_typer(run_python: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.full((64, 64), 192, np.uint8)).save(path)
    script = "from fracture_edge.cli import main\ntry: main(own_process=True)\nexcept SystemExit: pass"
    modules = loaded(run_python, script, "classify", path)
    assert modules.isdisjoint({"typer", "fracture_edge.commands.registry"})
    assert "typer" in loaded(run_python, script, "classify", path, "--csv")


@pytest.mark.parametrize("names", [["x.png"], ["x.png", "none.png"], ["none.png"], ["."], ["x*.png", "x.png"]])
def test_paths_without_options_give_the_same_output_as_with_typer(
    names: list[str], run_python: Run, tmp_path: Path
) -> None:
    Image.fromarray(np.full((64, 64), 192, np.uint8)).save(tmp_path / "x.png")

    def told(*words: str) -> tuple[int, bytes, str]:
        done = run_python("-m", "fracture_edge", "classify", *words, cwd=tmp_path)
        return (
            done.returncode,
            re.sub(rb"[\d.]+ s\n", b"", done.stderr),
            re.sub(r"\d+ ms", "ms", done.stdout.decode()),
        )

    assert told(*names) == told(*names, "--jobs", "1")


def test_python_interface_without_the_extras(run_python: Run, tiny_model: Path) -> None:
    script = (
        f"{BLOCK}\nimport numpy\nfrom fracture_edge import FractureClassifier\n"
        "prediction = FractureClassifier(sys.argv[1]).predict(numpy.full((64, 64), 192, 'uint8'))\n"
        "print(prediction.decision, round(prediction.probability, 4))"
    )
    done = run_python("-c", script, tiny_model)
    assert (done.stdout, done.stderr) == (b"fractured 0.8808\n", b"")
