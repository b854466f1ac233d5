"""JSON records: conversion of dataclasses to plain values and back, with checks of their types."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_origin

import cattrs
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_unstructure_fn, override

from fracture_edge.errors import FractureEdgeError
from fracture_edge.files import write_json

Record = TypeVar("Record")
#: Fields with their default value are omitted from the JSON, and may be missing when it is read.
_CONVERTER = cattrs.Converter(omit_if_default=True)
#: Largest number of errors that a message names.
_MOST_ERRORS = 3
_ALWAYS = "written always"
#: For `dataclasses.field`: the default is for files that lack the field, and is written like any other value.
WRITTEN_ALWAYS = MappingProxyType({_ALWAYS: True})


def _always(kind: Any) -> list[str]:
    return [entry.name for entry in fields(kind) if entry.metadata.get(_ALWAYS)]


def _with_defaults(kind: Any) -> Callable[[Any], dict[str, Any]]:
    kept: Any = {name: override(omit_if_default=False) for name in _always(kind)}
    return make_dict_unstructure_fn(kind, _CONVERTER, _cattrs_omit_if_default=True, **kept)


_CONVERTER.register_unstructure_hook_factory(
    lambda kind: is_dataclass(kind) and bool(_always(kind)), _with_defaults
)


class _WrongTypeError(TypeError):
    """Value of a wrong type; the message says what it must be."""


def _describe(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, _WrongTypeError) else cattrs.v.format_exception(error, kind)


def _require(wanted: type | tuple[type, ...], name: str) -> Callable[[Any, Any], Any]:
    """Return a hook that accepts values of a type and refuses all others, which cattrs would convert."""

    def hook(value: Any, _: Any) -> Any:
        # In Python True is an int; in a file it is no number.
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise _WrongTypeError(f"must be {name}, not {json.dumps(value, default=str)}")
        return value

    return hook


_NUMBER = _require((int, float), "a number")
_CONVERTER.register_structure_hook(str, _require(str, "a string"))
_CONVERTER.register_structure_hook(int, _require(int, "an integer"))
_CONVERTER.register_structure_hook(float, lambda value, kind: float(_NUMBER(value, kind)))
_CONVERTER.register_structure_hook(bool, _require(bool, "true or false"))


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


@_CONVERTER.register_structure_hook_factory(_is_list)
def _list(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    structure = list_structure_factory(kind, converter)

    def hook(value: Any, kind: Any) -> Any:
        # A string is a sequence too, of its letters.
        if not isinstance(value, list):
            raise _WrongTypeError(f"must be a list, not {json.dumps(value, default=str)}")
        return structure(value, kind)

    return hook


def register(kind: type[Record], plain: Callable[[Record], Any], record: Callable[[Any], Record]) -> None:
    """Register a custom JSON form of a class.

    Args:
        kind: Class to register.
        plain: Function that converts an instance to plain values.
        record: Function that creates an instance from plain values; may raise KeyError, TypeError or ValueError.
    """
    _CONVERTER.register_unstructure_hook(kind, plain)
    _CONVERTER.register_structure_hook(kind, lambda values, _: record(values))


def to_plain(record: object) -> Any:
    """Convert a dataclass to dictionaries, lists and numbers."""
    return _CONVERTER.unstructure(record)


def from_plain(kind: type[Record], values: object, source: str) -> Record:
    """Convert plain values to a dataclass; unknown keys are ignored.

    Args:
        kind: Class of the record.
        values: Output of `to_plain`.
        source: Name of the file, for error messages.

    Raises:
        FractureEdgeError: A field is missing or has the wrong type.
    """
    if is_dataclass(kind) and not isinstance(values, Mapping):
        raise FractureEdgeError(f"{source}: must contain a JSON object")
    if _is_list(kind) and not isinstance(values, list):
        raise FractureEdgeError(f"{source}: must contain a JSON list")
    try:
        return _CONVERTER.structure(values, kind)
    except cattrs.BaseValidationError as error:
        found = cattrs.transform_error(error, path=kind.__name__, format_exception=_describe)
        more = f"; and {len(found) - _MOST_ERRORS} more" if len(found) > _MOST_ERRORS else ""
        raise FractureEdgeError(f"{source}: {'; '.join(found[:_MOST_ERRORS])}{more}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FractureEdgeError: The file cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FractureEdgeError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise FractureEdgeError(f"{path}: not JSON ({error})") from error


def read_versioned(path: Path, newest: int) -> dict[str, Any]:
    """Read a JSON object that has a ``schema_version``.

    Args:
        path: Path of the file.
        newest: Newest schema version that this version of the package reads.

    Raises:
        FractureEdgeError: The file cannot be read, is not a JSON object, has no schema version, or a newer one.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise FractureEdgeError(f"{path}: must contain a JSON object")
    version = values.get("schema_version")
    if type(version) is not int:
        raise FractureEdgeError(f"{path}: schema_version must be an integer, not {json.dumps(version)}")
    if version > newest:
        raise FractureEdgeError(
            f"{path}: schema {version}, this version reads up to {newest}; update fracture-edge"
        )
    return values


def write_record(path: Path, record: object) -> None:
    """Write a record as JSON, atomically."""
    write_json(path, to_plain(record))
