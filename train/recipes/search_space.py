"""Search space of `fracture-edge tune`, declared in TOML."""

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
    """Range or choices of the values of one key of a recipe.

    Attributes:
        key: Dotted key, as in the settings of `train.recipes.recipe.override`.
        low: Smallest number; ``None`` if there are choices.
        high: Largest number; ``None`` if there are choices.
        log: Whether to sample uniformly in the logarithm.
        choices: Values to choose from; empty if there is a range.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def ends(self) -> tuple[Any, ...]:
        """Return the ends of the range, or all choices: a recipe must accept each of them."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: Any) -> Any:
        """Let an Optuna trial suggest a value."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


def load_space(path: Path | None) -> tuple[Range, ...]:
    """Read a search space from a TOML file, or the default one for ``None``.

    Raises:
        RecipeError: The file cannot be read, or an entry is malformed; the message names the key.
    """
    source: Any = path or resources.files("train.recipes") / "spaces" / "default.toml"
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{source}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{source.name}: {error}") from error
    if not values:
        raise RecipeError(f"{source.name}: the search space is empty")
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
    """Check that `recipe` accepts the ends of every range, before the first trial.

    Raises:
        FractureEdgeError: The recipe does not have a key, or a value is invalid.
    """
    for entry in space:
        for value in entry.ends():
            apply({entry.key: value}, recipe)


def apply(parameters: Mapping[str, Any], recipe: Recipe) -> Recipe:
    """Return a copy of `recipe` with the parameters of a trial."""
    return override(recipe, settings=[f"{key}={_as_toml(value)}" for key, value in parameters.items()])


def _as_toml(value: Any) -> str:
    return (
        f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    )
