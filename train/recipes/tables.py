"""Conversion of TOML tables and `KEY=VALUE` settings to typed values."""

import dataclasses
import tomllib
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fracture_edge.errors import FractureEdgeError


class RecipeError(FractureEdgeError):
    """A recipe cannot be found, or a key or value in it is invalid; the message names the key."""


def plain_values(value: Any) -> Any:
    """Convert dataclasses, tuples and mappings to dictionaries and lists, as `tomllib` would read them."""
    if dataclasses.is_dataclass(value):
        return {entry.name: plain_values(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain_values(entry) for entry in value]
    return dict(value) if isinstance(value, Mapping) else value


def of_this_version(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe without an option that no longer exists, if it was off.

    Runs of earlier versions can be resumed and compared: in them each recipe has ``distillation``.

    Args:
        values: Values of a recipe by key, as in a record.
    """
    gone = values.get("distillation")
    if gone is None or gone.get("share"):
        return dict(values)
    return {key: value for key, value in values.items() if key != "distillation"}


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(values: Any, key: str, value: Any) -> None:
    """Set the entry of a dotted `key`; whether key and value are valid is checked later."""
    *way, last = key.split(".")
    for step in way:
        values = _entry(values, step, key)
    if isinstance(values, list):
        _entry(values, last, key)
        values[int(last)] = value
    elif isinstance(values, dict):
        values[last] = value
    else:
        raise RecipeError(f"recipe: no key '{key}'")


def _entry(values: Any, step: str, key: str) -> Any:
    try:
        return values[int(step)] if isinstance(values, list) else values[step]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise RecipeError(f"recipe: no key '{key}'") from error


def _convert(value: Any, kind: Any, key: str) -> Any:
    """Check `value` against a type annotation and build dataclasses from tables."""
    origin = get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _convert_table(value, kind, key)
    if origin is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{key}: expected a list, got {value!r}")
        return tuple(_convert(entry, get_args(kind)[0], f"{key}[{i}]") for i, entry in enumerate(value))
    if origin is Literal:
        if value not in get_args(kind):
            raise RecipeError(f"{key}: must be one of: {', '.join(map(repr, get_args(kind)))}; not {value!r}")
        return value
    if origin in (Union, types.UnionType):
        raise TypeError(f"{key}: unions are not supported in recipes")
    expected = origin or kind
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise RecipeError(f"{key}: expected {expected.__name__}, got {value!r}")
    return value


def _convert_table(value: Any, kind: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise RecipeError(f"{key}: expected a table, got {value!r}")
    hints = get_type_hints(kind)
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    if unknown := set(value) - set(fields):
        raise RecipeError(f"{key}: unknown key '{min(unknown)}'; must be one of: {', '.join(sorted(fields))}")
    required = {
        name
        for name, entry in fields.items()
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    }
    if missing := required - set(value):
        raise RecipeError(f"{key}: key '{min(missing)}' is missing")
    return kind(**{name: _convert(entry, hints[name], f"{key}.{name}") for name, entry in value.items()})
