"""`fracture-edge benchmark`."""

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
            help="Trained models, 'embedded', or exported files (.onnx, .tflite); every trained model if none is "
            "named.",
            show_default=False,
        ),
    ] = None,
    artifacts: ArtifactsOption = Path("artifacts"),
    data: Annotated[Path | None, typer.Option(help="The data folder, if not that of the training.")] = None,
    splits: Annotated[Path | None, typer.Option(help="The split file, if not that of the training.")] = None,
    split: Annotated[
        str, typer.Option(help="Which split judges: test, or val while anything is still being chosen.")
    ] = "test",
    runs: Annotated[int, typer.Option(min=1, help="Timed inferences of each row, at least.")] = 200,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Threads of each runtime; may be repeated. 1 and all cores if not given."),
    ] = None,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure latency and memory too.")] = True,
    openvino: Annotated[
        bool, typer.Option("--openvino/--no-openvino", help="Run OpenVINO beside the others, where installed.")
    ] = True,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Measure files that the export rejected too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON, not the tables.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="RUN.json",
            help="Write the JSON here; every image's probability (.csv) and the report (.md, .html) beside it.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run that --output names, if there is one: its models are measured again only "
            "where their files have changed, and others are added.",
        ),
    ] = False,
    force: ForceOption = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Measure nothing: say what changed from one run to another."),
    ] = None,
) -> None:
    """Compare accuracy, precision, recall, F1 and latency of MODELS in every format they have.

    Keras, ONNX and TFLite files get the same images through the same preprocessing and are judged at the threshold
    that was frozen on validation; every figure has a 95 % interval. Each row runs in a process of its own, and the
    rows take turns. The report says which file to take for which device. With --output the files are written after
    each model, and --resume goes on from there.

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
    # The images are read with what training uses, which needs Keras, whatever backend it was trained on.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    quiet_tensorflow()
    from benchmarks.run import BenchmarkOptions
    from benchmarks.run import benchmark as measure

    before = read_run(output) if resume and output is not None and output.exists() else None
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
        # Only what this very run has written is replaced.
        save=lambda run: None if output is None else write_run(run, output, force=True),
    )
    if as_json:
        print(json.dumps(to_plain(run.result), indent=2))
    else:
        print(markdown(run.result), end="")
