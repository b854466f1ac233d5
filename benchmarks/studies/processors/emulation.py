"""Check that a model decides the same on an emulated processor: `python -m benchmarks.studies emulation`.

Sums of int8 products are exact on every processor, with one exception: x86 without VNNI adds pairs of products in
16 bits (``vpmaddubsw``), which saturate if the weights use all 8 bits. Apart from that, only the float operations
between layers can round differently, occasionally to the neighbouring int8 value. On x86 without VNNI,
`FractureClassifier` makes onnxruntime use wider sums. Models for the target `safe` must decide the same on an
older x86 even without these (``--plain``), and models for `arm64` on aarch64. The emulator, qemu-user, runs the
device package; its timings say nothing about the real processor.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.records.environment import Environment
from benchmarks.studies.processors.comparison import Emulated, Emulation, Native, compare
from benchmarks.studies.processors.emulator import (
    DEFAULT_CPUS,
    ROOT_VARIABLE,
    Architecture,
    Interpreter,
    classify_in,
    emulated,
)
from fracture_edge.batch.inputs import expand
from fracture_edge.console import say
from fracture_edge.errors import EXIT_FAILED, FractureEdgeError
from fracture_edge.modelfile import read_model
from train.json_records import write_record

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def check(
    model: Path,
    images: Sequence[Path],
    *,
    arch: str = "x86_64",
    cpu: str | None = None,
    root: Path | None = None,
    plain: bool = False,
) -> Emulation:
    """Run a model on the native and on an emulated processor, and compare the predictions.

    Args:
        model: Path of the model file.
        images: Paths of image files.
        arch: Architecture to emulate, a key of `DEFAULT_CPUS`.
        cpu: Processor to emulate; ``None`` for the default of the architecture in `DEFAULT_CPUS`.
        root: Debian for arm64, see `emulated`.
        plain: Whether the emulated process opens the model without the session options of `FractureClassifier`,
            see `classify_in`.

    Raises:
        FractureEdgeError: The emulator or root is missing, a process failed, or the emulated x86 has AVX-512.
    """
    _, _, sha256 = read_model(model)
    chosen = cpu or DEFAULT_CPUS[arch]
    python = emulated(arch, chosen, root)
    native, other = classify_in(Interpreter(), model, images), classify_in(python, model, images, plain=plain)
    if arch == "x86_64" and any(feature.startswith("AVX512") for feature in other.cpu_features):
        raise FractureEdgeError(f"-cpu {chosen} has AVX-512; choose one without, such as {DEFAULT_CPUS[arch]}")
    compared = compare(native.records, other.records)
    return Emulation(
        images=compared.images,
        answered=compared.answered,
        same_decisions=compared.same_decisions,
        largest_difference=compared.largest_difference,
        mean_difference=compared.mean_difference,
        differing=compared.differing,
        model=model.name,
        plain=plain,
        model_sha256=sha256,
        emulated=Emulated(
            architecture=arch,
            cpu=chosen,
            cpu_features=other.cpu_features,
            qemu=_version(python.command[0]),
            versions=other.versions,
            p50_ms=other.milliseconds,
        ),
        native=Native(native.cpu_features, native.versions, native.milliseconds),
        environment=Environment.here(),
    )


def _version(emulator: str) -> str:
    """Return the version, such as ``qemu-x86_64 version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)``."""
    told = subprocess.run([emulator, "--version"], capture_output=True, check=True, encoding="utf-8")  # noqa: S603
    return told.stdout.partition("\n")[0]


@app.command()
def run(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", show_default=False)],
    images: Annotated[
        list[Path],
        typer.Option(metavar="PATH", help="Image file, or folder of image files; may be repeated."),
    ],
    count: Annotated[
        int | None, typer.Option(min=1, help="Use this many of the images, evenly spaced in their order.")
    ] = None,
    arch: Annotated[Architecture, typer.Option(help="Architecture of the processor.")] = Architecture.X86_64,
    cpu: Annotated[
        str | None,
        typer.Option(
            help="Processor to emulate. Default: "
            + ", ".join(f"{name} for {arch}" for arch, name in DEFAULT_CPUS.items())
            + "."
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Open the model without the wider sums in the emulated process.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", envvar=ROOT_VARIABLE, help="Debian for arm64, for aarch64; the study arm64 makes it."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the JSON here.")] = None,
) -> None:
    """Compare a model's decisions on this processor with those on an emulated one.

    Exit status: 0 if all decisions are the same, 1 if one differs or something is missing, 2 for wrong usage.

    \b
    python -m benchmarks.studies emulation MODEL.onnx --images xrays --count 60
    """  # noqa: D301
    files, notes = expand(images, recursive=True)
    for note in notes:
        say(note)
    files = spread(files, count or len(files))
    result = check(model, files, arch=arch.value, cpu=cpu, root=root, plain=plain)
    if output is not None:
        write_record(output, result)
    print(_summary(result))
    if result.differing:
        raise typer.Exit(EXIT_FAILED)


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """Select at most `count` of `files`, evenly spaced in their order."""
    kept = min(count, len(files))
    return [files[number * len(files) // kept] for number in range(kept)]


def _summary(result: Emulation) -> str:
    there = result.emulated
    lines = [
        f"{result.model}: {result.same_decisions} of {result.answered} decisions the same on "
        f"{there.architecture} {there.cpu}",
        f"difference of probability: largest {result.largest_difference:.2e}, "
        f"mean {result.mean_difference:.2e} over {result.answered} images",
        f"one image: {there.p50_ms:.0f} ms emulated, {result.native.p50_ms:.0f} ms here",
    ]
    lines += [
        f"{entry.path}: {entry.native.decision} ({entry.native.probability}) here, "
        f"{entry.emulated.decision} ({entry.emulated.probability}) emulated"
        for entry in result.differing
    ]
    return "\n".join(lines)
