"""Results of `export.stability`, how often the gate changes its mind on other images, and their table."""

from dataclasses import dataclass
from pathlib import Path

from train.evaluation.formatting import markdown_table
from train.json_records import from_plain, read_json

RESULTS = Path(__file__).resolve().parents[2] / "results" / "stability"


@dataclass(frozen=True, slots=True)
class Stability:
    """Verdicts of the gate on one file.

    Attributes:
        images: Number of images that the draws are taken from.
        draws: Number of draws.
        accepted: Share of the draws in which the gate accepts the file, 0 to 1.
        changed: Share of the draws with the rarer verdict, 0 to 0.5.
    """

    images: int
    draws: int
    accepted: float
    changed: float


@dataclass(frozen=True, slots=True)
class ModelStability:
    """Verdicts of the gate on the int8 files of one model.

    Attributes:
        model: Name of the model.
        validation: Number of images in the place of the validation images in each draw.
        files: Verdicts by name of the file.
    """

    model: str
    validation: int
    files: dict[str, Stability]


def table() -> str:
    """Render all models in ``benchmarks/results/stability`` as Markdown."""
    results = [from_plain(ModelStability, read_json(path), str(path)) for path in sorted(RESULTS.glob("*.json"))]
    return markdown_table(
        ("file", "draws", "from images", "accepted", "another verdict than most draws"),
        (
            (f"`{Path(file).name}`", found.draws, found.images, f"{found.accepted:.3f}", f"{found.changed:.3f}")
            for result in results
            for file, found in result.files.items()
        ),
    )
