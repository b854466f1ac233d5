"""Command line of the studies: `python -m benchmarks.studies NAME` runs one, without a name lists all."""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import typer

from fracture_edge.commands.registry import Command, LazyGroup
from fracture_edge.errors import EXIT_FAILED, FractureEdgeError

STUDIES: Mapping[str, Command] = MappingProxyType(
    {
        "archive": Command(
            "benchmarks.studies.scale.ray_cluster",
            "Run an archive on a Ray cluster, and kill a node and the driver.",
        ),
        "arm64": Command(
            "benchmarks.studies.processors.arm64", "Install and run the wheel on a fresh Debian for arm64."
        ),
        "averaged": Command(
            "benchmarks.studies.edge_model.averaged", "Average the predictions of cross-validated networks."
        ),
        "body-part": Command(
            "benchmarks.studies.edge_model.body_part", "Evaluate body part and view beside two controls."
        ),
        "bounds": Command(
            "benchmarks.studies.dependencies.bounds", "Try the oldest and newest versions of the dependencies."
        ),
        "cross-validated": Command(
            "benchmarks.studies.edge_model.cross_validated", "Compare networks on the same folds."
        ),
        "documents": Command(
            "benchmarks.studies.documents.fill", "Insert the results into the documents, or check them."
        ),
        "elsewhere": Command(
            "benchmarks.studies.robustness.elsewhere",
            "Judge a model on another data set, one score for each X-ray.",
        ),
        "emulation": Command(
            "benchmarks.studies.processors.emulation", "Compare decisions with those on an emulated processor."
        ),
        "formats": Command("benchmarks.studies.cost.formats", "Time all exported files of a model in turns."),
        "frozen-features": Command(
            "benchmarks.studies.edge_model.frozen_features", "Evaluate frozen ImageNet features."
        ),
        "fuzzing": Command(
            "benchmarks.studies.fuzzing.run", "Read broken files and check that each gets a status."
        ),
        "gateway": Command(
            "benchmarks.studies.gateway.run",
            "Run the DICOM gateway between Orthanc and dcmtk: kills, abuse, load.",
        ),
        "layers": Command(
            "benchmarks.studies.cost.layers", "Time the kinds of layers in onnxruntime and OpenVINO."
        ),
        "learning-curve": Command(
            "benchmarks.studies.edge_model.learning_curve", "Train on shares of the training images."
        ),
        "out-of-fold": Command(
            "benchmarks.studies.edge_model.out_of_fold",
            "Check what operating points from out-of-fold predictions rest on.",
        ),
        "page-browsers": Command(
            "benchmarks.studies.page.browsers", "Compare the page in browsers with the program, on drawn pictures."
        ),
        "page-golden": Command(
            "benchmarks.studies.page.golden", "Write the answers that the page's JavaScript is tested against."
        ),
        "page-picture": Command(
            "benchmarks.studies.page.picture", "Photograph the page with an answer, for the documents."
        ),
        "pair": Command("benchmarks.studies.cost.pair", "Time two model files in turns on one thread."),
        "reproduction": Command(
            "benchmarks.studies.edge_model.reproduction", "Compare the metrics of a run with the reference."
        ),
        "run-log": Command("benchmarks.studies.edge_model.run_log", "Add a training run to the log of runs."),
        "serving": Command(
            "benchmarks.studies.serving.run",
            "Abuse the HTTP server, compare it with the command line, measure its speed.",
        ),
        "shards": Command(
            "benchmarks.studies.scale.shards", "Kill a shard, merge all, compare with one run; cost of merging."
        ),
        "stress": Command(
            "benchmarks.studies.robustness.stress",
            "Test the robustness of a model, and whether it uses shortcuts.",
        ),
        "tflite": Command("benchmarks.studies.cost.tflite", "Compare a model's TFLite files with its ONNX files."),
        "throughput": Command(
            "benchmarks.studies.scale.throughput", "Compare one core with two: images a second, memory."
        ),
        "training-speed": Command(
            "benchmarks.studies.cost.training_speed", "Time training with and without the input pipeline."
        ),
        "unlike": Command(
            "benchmarks.studies.robustness.unlike", "Count the images that a model flags as unusable."
        ),
        "where-it-looks": Command(
            "benchmarks.studies.edge_model.where_it_looks",
            "Cross-validate ways of training and ask where they look.",
        ),
        "where-it-points": Command(
            "benchmarks.studies.edge_model.where_it_points",
            "Compare localiser and cells of cross-validated networks.",
        ),
    }
)


class Studies(LazyGroup):
    """Group of all studies; each is imported when it is called."""

    lazy: ClassVar[Mapping[str, Command]] = STUDIES


app = typer.Typer(
    cls=Studies,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Run measurements for developers in a checkout; most write a file to benchmarks/results.

    \b
    python -m benchmarks.studies NAME --help   show the options of a study
    python -m benchmarks.studies documents     update the tables in the documents from the results
    """  # noqa: D301


def main() -> None:
    """Run the study named on the command line; print expected errors as one line on stderr."""
    try:
        app()
    except FractureEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
