"""`fracture-edge benchmark`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fracture_edge.cli_options import ArtifactsOption, ForceOption, quiet_tensorflow

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def benchmark(
    model: Annotated[
        str, typer.Argument(help="A trained and exported model's name, 'embedded', or an .onnx file.")
    ],
    artifacts: ArtifactsOption = Path("artifacts"),
    data: Annotated[Path | None, typer.Option(help="The data folder, if not that of the training.")] = None,
    splits: Annotated[Path | None, typer.Option(help="The split file, if not that of the training.")] = None,
    split: Annotated[str, typer.Option(help="Which split to judge on: test or val.")] = "test",
    runs: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each runtime.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON, not the table.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the JSON here, and per-image probabilities as .csv beside it."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Measure accuracy, precision, recall, F1, AUROC, latency and size of MODEL in every format it has.

    Keras, ONNX float32 and ONNX int8 get the same images through the same preprocessing and are judged at the
    threshold that was frozen on validation. Every figure has a 95 % interval.

    Example: fracture-edge benchmark edge -o benchmarks/results/edge.json
    """
    import json

    from fracture_edge.files import refuse_overwrite

    if output is not None:
        if output.suffix == ".csv":
            raise typer.BadParameter("--output names the JSON file; the CSV goes beside it")
        if not force:
            refuse_overwrite(output)
            refuse_overwrite(output.with_suffix(".csv"))
    # The Keras runner is compiled by TensorFlow, whatever backend the model was trained on.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    quiet_tensorflow()
    from benchmarks.run import benchmark as measure
    from benchmarks.run import write_results
    from benchmarks.table import markdown

    result, per_image = measure(
        model, artifacts=artifacts, data=data, splits=splits, split=split, runs=runs, threads=threads
    )
    print(json.dumps(result, indent=2) if as_json else markdown(result), end="\n" if as_json else "")
    if output is not None:
        write_results(result, per_image, output, force=force)
