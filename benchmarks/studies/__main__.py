"""`python -m benchmarks.studies NAME`: run one study by its name."""

import sys
from importlib import import_module
from types import MappingProxyType

STUDIES = MappingProxyType(
    {
        "averaged": "edge_model.averaged",
        "cross-validated": "edge_model.cross_validated",
        "documents": "documents.fill",
        "emulation": "processors.emulation",
        "formats": "cost.formats",
        "frozen-features": "edge_model.frozen_features",
        "fuzzing": "fuzzing.run",
        "learning-curve": "edge_model.learning_curve",
        "pair": "cost.pair",
        "reproduction": "edge_model.reproduction",
        "run-log": "edge_model.run_log",
        "stress": "robustness.stress",
        "training-speed": "cost.training_speed",
        "unlike": "robustness.unlike",
    }
)


def main() -> None:
    """Run the study that the first argument names; the others are its own."""
    if len(sys.argv) < 2 or sys.argv[1] not in STUDIES:
        sys.exit(f"usage: python -m benchmarks.studies {{{','.join(STUDIES)}}} ...")
    name = sys.argv.pop(1)
    sys.exit(import_module(f"benchmarks.studies.{STUDIES[name]}").main())


if __name__ == "__main__":
    main()
