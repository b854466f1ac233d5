"""`python -m benchmarks.studies NAME`: list the studies, or run one by its name."""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import typer

from fracture_edge.commands.registry import Command, LazyGroup
from fracture_edge.errors import EXIT_FAILED, FractureEdgeError

STUDIES: Mapping[str, Command] = MappingProxyType(
    {
        "averaged": Command(
            "benchmarks.studies.edge_model.averaged", "Average the answers of cross-validated networks."
        ),
        "cross-validated": Command(
            "benchmarks.studies.edge_model.cross_validated", "Compare networks on the same folds."
        ),
        "documents": Command(
            "benchmarks.studies.documents.fill", "Fill the measured figures into the documents, or check them."
        ),
        "emulation": Command(
            "benchmarks.studies.processors.emulation", "Compare decisions with those of an emulated processor."
        ),
        "formats": Command("benchmarks.studies.cost.formats", "Time every exported file of a model in turns."),
        "frozen-features": Command(
            "benchmarks.studies.edge_model.frozen_features", "Judge ImageNet features without training."
        ),
        "fuzzing": Command("benchmarks.studies.fuzzing.run", "Read broken files; each must get a status."),
        "learning-curve": Command(
            "benchmarks.studies.edge_model.learning_curve", "Train on shares of the training images."
        ),
        "pair": Command("benchmarks.studies.cost.pair", "Time two model files in turns on one thread."),
        "reproduction": Command(
            "benchmarks.studies.edge_model.reproduction", "Keep a run's figures beside the reference's."
        ),
        "run-log": Command("benchmarks.studies.edge_model.run_log", "Add a training run to the log of runs."),
        "stress": Command(
            "benchmarks.studies.robustness.stress", "Test a model on changed images and for shortcuts."
        ),
        "training-speed": Command(
            "benchmarks.studies.cost.training_speed", "Time training beside a constant batch."
        ),
        "unlike": Command(
            "benchmarks.studies.robustness.unlike", "Count the pictures that a model flags as unusable."
        ),
    }
)


class Studies(LazyGroup):
    """The studies; each is imported when it is called."""

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
    """Measurements that are made in a checkout, not by users; most leave a file in benchmarks/results.

    \b
    python -m benchmarks.studies NAME --help   what a study does, and its options
    python -m benchmarks.studies documents     make the tables of the documents of what was measured
    """  # noqa: D301


def main() -> None:
    """Run the study that the command line names; what goes wrong as expected is one line on stderr."""
    try:
        app()
    except FractureEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
