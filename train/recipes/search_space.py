"""The search space of `fracture-edge tune`, declared in TOML."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from train.recipes.recipe import Recipe, override
from train.recipes.tables import RecipeError

_KEYS = frozenset({"low", "high", "log", "choices"})


@dataclass(frozen=True, slots=True)
class Range:
    """Values that one key of a recipe may take.

    Attributes:
        key: As in `train.recipes.recipe.override`.
        low: Smallest number, or ``None`` where there are choices.
        high: Greatest number, likewise.
        log: Whether to draw evenly in the logarithm.
        choices: The values, where they are no range.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def ends(self) -> tuple[Any, ...]:
        """The extreme values, or all choices: what a recipe must accept."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: Any) -> Any:
        """Let an Optuna trial choose."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


def load_space(path: Path | None) -> tuple[Range, ...]:
    """Read a search space; the one that ships with the package for ``None``.

    Raises:
        RecipeError: The file cannot be read, or an entry of it is malformed; the text names the key.
    """
    source: Any = path or resources.files("train.recipes") / "spaces" / "default.toml"
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{source}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{source.name}: {error}") from error
    if not values:
        raise RecipeError(f"{source.name}: declares nothing to search")
    return tuple(_range(key, entry, source.name) for key, entry in values.items())


def _range(key: str, entry: Any, source: str) -> Range:
    def refuse(why: str) -> RecipeError:
        return RecipeError(f"{source}: '{key}': {why}")

    if not isinstance(entry, Mapping) or set(entry) - _KEYS:
        raise refuse("expected low and high (and log), or choices")
    if "choices" in entry:
        if set(entry) != {"choices"} or not isinstance(entry["choices"], list) or not entry["choices"]:
            raise refuse("choices must be a list, without low and high")
        return Range(key, choices=tuple(entry["choices"]))
    low, high, log = entry.get("low"), entry.get("high"), entry.get("log", False)
    numbers = [value for value in (low, high) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)) or not isinstance(log, bool):
        raise refuse("expected low and high as numbers, and log as true or false")
    if numbers[0] >= numbers[1] or (log and numbers[0] <= 0):
        raise refuse("low must be below high, and above 0 with log")
    return Range(key, numbers[0], numbers[1], log)


def check_space(space: tuple[Range, ...], recipe: Recipe) -> None:
    """Try the ends of every range on `recipe`, so that a wrong key is found before the first trial.

    Raises:
        FractureEdgeError: The recipe has no such key, or a value does not fit.
    """
    for entry in space:
        for value in entry.ends():
            apply({entry.key: value}, recipe)


def apply(parameters: Mapping[str, Any], recipe: Recipe) -> Recipe:
    """`recipe` with the values that a trial chose."""
    return override(recipe, settings=[f"{key}={_as_toml(value)}" for key, value in parameters.items()])


def _as_toml(value: Any) -> str:
    return (
        f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    )
