"""The `fracture-edge benchmark` command."""

import os
from pathlib import Path
from typing import Annotated

import typer

from train.cli.options import ArtifactsOption, ForceOption
from train.quiet_tensorflow import quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def benchmark(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Trained models, 'embedded', or exported files (.onnx, .tflite). Default: every trained model.",
            show_default=False,
        ),
    ] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
    data: Annotated[Path | None, typer.Option(help="Data folder. Default: that of the training run.")] = None,
    splits: Annotated[Path | None, typer.Option(help="Split file. Default: that of the training run.")] = None,
    split: Annotated[
        str, typer.Option(help="Split to evaluate on: test, or val while anything is still being chosen.")
    ] = "test",
    runs: Annotated[int, typer.Option(min=1, help="Minimum number of timed inferences per row.")] = 200,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Number of threads per runtime; may be repeated. Default: 1 and all cores."),
    ] = None,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure latency and memory as well.")] = True,
    openvino: Annotated[
        bool, typer.Option("--openvino/--no-openvino", help="Measure OpenVINO as well, if it is installed.")
    ] = True,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Measure files that the export gate rejected as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RUN.json",
            help="Write the results here; the probability of every image (.csv) and the report (.md, .html) are "
            "written beside it.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in --output, if it exists: measure only models that are new or whose files "
            "have changed.",
        ),
    ] = False,
    force: ForceOption = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Measure nothing; report what changed between two runs."),
    ] = None,
) -> None:
    """Compare accuracy, precision, recall, F1 and latency of MODELS in every format.

    Keras, ONNX and TFLite files get the same images with the same preprocessing and are evaluated at the threshold
    frozen before; every metric has a 95 % interval. Each file runs in a separate process, and the processes
    take turns. The report recommends a file for each kind of device. With --output the results are written after
    each model, and --resume continues from there.

    Examples:
        fracture-edge benchmark -o results.json

        fracture-edge benchmark edge --no-speed --split val

        fracture-edge benchmark --compare before.json after.json
    """
    import json

    from benchmarks.report.changes import changes
    from benchmarks.report.markdown import markdown
    from benchmarks.run_files import files_of, read_run, write_run
    from benchmarks.speed.speed import SpeedOptions
    from fracture_edge.machine import usable_cores
    from train.json_records import to_plain

    if compare:
        print(changes(*compare), end="")
        return
    if resume and (output is None or force):
        raise typer.BadParameter("--resume needs --output, and no --force")
    if output is not None:
        files_of(output, force=force or resume)
    # Images are read by the training code, which imports Keras; the backend of the training run does not matter.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    quiet_tensorflow()
    from benchmarks.run import BenchmarkOptions
    from benchmarks.run import benchmark as measure

    before = read_run(output) if resume and output is not None and output.exists() else None
    if too_many := [count for count in threads or () if count > usable_cores()]:
        raise typer.BadParameter(f"--threads {max(too_many)}: this machine has {usable_cores()} usable cores")
    counts = tuple(sorted(set(threads or (1, usable_cores()))))
    run = measure(
        models or [],
        BenchmarkOptions(
            artifacts=artifacts,
            data=data,
            splits=splits,
            split=split,
            speed=SpeedOptions(threads=counts, runs=runs) if speed else None,
            openvino=openvino,
            rejected=rejected,
        ),
        before=before,
        # Replaces only files that this run has written itself.
        save=lambda run: None if output is None else write_run(run, output, force=True),
    )
    if as_json:
        print(json.dumps(to_plain(run.result), indent=2))
    else:
        print(markdown(run.result), end="")
