"""Table of the ways of making an int8 file, for ``docs/formats.md``."""

import tomllib
from pathlib import Path

from train.evaluation.formatting import markdown_table

#: Data of `export`, which this package does not import.
_RECIPES = Path(__file__).resolve().parents[3] / "export" / "recipes.toml"


def ladder() -> str:
    """Render the ladder of attempts at int8 as Markdown."""
    rungs = tomllib.loads(_RECIPES.read_text(encoding="utf-8"))["ladder"]
    rows = ((rung["runtime"], f"`{rung['name']}`", rung["why"]) for rung in rungs)
    return markdown_table(("runtime", "rung", "why"), rows)
