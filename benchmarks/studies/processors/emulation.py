"""Whether a model decides alike on another, emulated processor: `python -m benchmarks.studies emulation`.

Sums of int8 products are exact on every processor, with one exception: x86 without VNNI adds pairs of products in
16 bits (``vpmaddubsw``), which saturate when the weights use all 8 bits. Elsewhere only the float steps between
layers may round otherwise, now and then to the neighbouring int8 value. `FractureClassifier` asks onnxruntime for
wider sums there; models for `safe` need no such favour (``--plain``) and must decide alike on an older x86 all the
same, and models for `arm64` on aarch64. qemu-user runs the device package there; its times mean nothing.
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
    SYSROOT_VARIABLE,
    Architecture,
    Python,
    ask,
    emulated,
)
from benchmarks.studies.processors.sysroot import prepare
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
    sysroot: Path | None = None,
    plain: bool = False,
) -> Emulation:
    """Run a model on this processor and on an emulated one, and compare.

    Args:
        model: A model file.
        images: Picture files.
        arch: A key of `DEFAULT_CPUS`.
        cpu: The emulated processor, or ``None`` for the architecture's of `DEFAULT_CPUS`.
        sysroot: For aarch64, see `emulated`.
        plain: Whether to open it there without our session options, see `ask`.

    Raises:
        FractureEdgeError: Something is missing, a process failed, or the emulated x86 has AVX-512.
    """
    _, _, sha256 = read_model(model)
    chosen = cpu or DEFAULT_CPUS[arch]
    python = emulated(arch, chosen, sysroot)
    native, other = ask(Python(), model, images), ask(python, model, images, plain=plain)
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
    """Such as ``qemu-x86_64 version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)``."""
    told = subprocess.run([emulator, "--version"], capture_output=True, check=True, encoding="utf-8")  # noqa: S603
    return told.stdout.partition("\n")[0]


@app.command()
def run(
    model: Annotated[Path | None, typer.Argument(metavar="MODEL.onnx", show_default=False)] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Picture file, or folder of them; may be repeated."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the images, evenly spread over their order.")
    ] = None,
    arch: Annotated[Architecture, typer.Option(help="Architecture of the processor.")] = Architecture.X86_64,
    cpu: Annotated[
        str | None,
        typer.Option(
            help="Processor to emulate. If not given: "
            + ", ".join(f"{name} for {arch}" for arch, name in DEFAULT_CPUS.items())
            + "."
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="There, open the model as another program would: no wider sums.")
    ] = False,
    sysroot: Annotated[
        Path | None, typer.Option(metavar="FOLDER", envvar=SYSROOT_VARIABLE, help="For aarch64, see --prepare.")
    ] = None,
    prepare_in: Annotated[
        Path | None,
        typer.Option(
            "--prepare", metavar="FOLDER", help="Make the sysroot that aarch64 needs there, and do nothing else."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the JSON here.")] = None,
) -> None:
    """Compare a model's decisions on this processor with those on an emulated one.

    Exit status: 0 all decisions are the same, 1 one differs or something is missing, 2 wrong usage.

    \b
    python -m benchmarks.studies emulation MODEL.onnx --images xrays --count 60
    """  # noqa: D301
    if prepare_in is not None:
        prepare(prepare_in)
        return
    if model is None or not images:
        raise typer.BadParameter("give MODEL.onnx and --images, or --prepare FOLDER")
    files, notes = expand(images, recursive=True)
    for note in notes:
        say(note)
    files = spread(files, count or len(files))
    result = check(model, files, arch=arch.value, cpu=cpu, sysroot=sysroot, plain=plain)
    if output is not None:
        write_record(output, result)
    print(_summary(result))
    if result.differing:
        raise typer.Exit(EXIT_FAILED)


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of `files`, evenly spread over their order."""
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
