"""Rules: which images are answered and which are passed over, from a TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from fracture_edge.errors import FractureEdgeError
from fracture_edge.pacs.gateway.header import ImageHeader


class Action(StrEnum):
    """What happens to an image.

    Attributes:
        ANSWER: It is classified, and its results are sent.
        PASS: It is acknowledged and dropped.
    """

    ANSWER = "answer"
    PASS = "pass"  # noqa: S105 -- no password


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule for the images that fit all of its patterns.

    The patterns of a key are alternatives; ``*``, ``?`` and ``[...]`` stand for other characters, and upper and
    lower case are the same. A key without patterns fits every image.

    Attributes:
        name: Name of the rule in messages.
        action: What happens to the images.
        modality: Patterns for Modality (0008,0060), for example ``CR``.
        body_part: Patterns for BodyPartExamined (0018,0015), for example ``HAND``.
        view: Patterns for ViewPosition (0018,5101), for example ``AP``; the empty pattern fits where it is absent.
        description: Patterns for any of SeriesDescription, StudyDescription, ProtocolName and
            AcquisitionDeviceProcessingDescription.
    """

    name: str
    action: Action
    modality: Sequence[str] = ()
    body_part: Sequence[str] = ()
    view: Sequence[str] = ()
    description: Sequence[str] = ()

    def fits(self, header: ImageHeader) -> bool:
        """Return whether an image fits the rule."""
        return (
            _fits(self.modality, (header.modality,))
            and _fits(self.body_part, (header.body_part,))
            and _fits(self.view, (header.view,))
            and _fits(self.description, header.descriptions)
        )


_PATTERNS = tuple(entry.name for entry in fields(Rule) if entry.name not in ("name", "action"))
#: Name of what applies to the images that fit no rule.
DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules in their order; the first that fits an image decides.

    Attributes:
        rules: Rules.
        default: What happens to images that fit none of them.
    """

    rules: Sequence[Rule] = ()
    default: Action = Action.ANSWER

    def decide(self, header: ImageHeader) -> tuple[Action, str]:
        """Return what happens to an image, and the name of the rule that says so."""
        for rule in self.rules:
            if rule.fits(header):
                return rule.action, rule.name
        return self.default, DEFAULT_NAME

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the rules from a TOML file; see docs/pacs.md for its keys.

        Raises:
            FractureEdgeError: The file cannot be read or contains something else than rules; the message names
                file, rule and key.
        """
        try:
            with path.open("rb") as stream:
                values = tomllib.load(stream)
        except OSError as error:
            raise FractureEdgeError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FractureEdgeError(f"{path}: not a TOML file: {error}") from error
        _check_keys(values, ("default", "rule"), str(path))
        tables = values.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise FractureEdgeError(f"{path}: 'rule' must be tables; begin each rule with [[rule]]")
        rules = [_rule(table, f"{path}, rule {number}", number) for number, table in enumerate(tables, 1)]
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1 or name == DEFAULT_NAME:
                raise FractureEdgeError(f"{path}: the name {name!r} is taken; give each rule a name of its own")
        return cls(tuple(rules), _action(values.get("default", Action.ANSWER), f"{path}, 'default'"))


def _rule(table: Mapping[str, Any], where: str, number: int) -> Rule:
    name = table.get("name", f"rule {number}")
    if not isinstance(name, str) or not name.strip():
        raise FractureEdgeError(f"{where}: 'name' must be text")
    where = f"{where} ({name})" if "name" in table else where
    _check_keys(table, ("name", "action", *_PATTERNS), where)
    if "action" not in table:
        raise FractureEdgeError(f"{where}: 'action' is missing; must be one of: {', '.join(Action)}")
    patterns = {key: _texts(table[key], f"{where}, '{key}'") for key in _PATTERNS if key in table}
    if not patterns:
        raise FractureEdgeError(
            f"{where}: fits every image; give one of: {', '.join(_PATTERNS)}; or use 'default'"
        )
    return Rule(name.strip(), _action(table["action"], f"{where}, 'action'"), **patterns)


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise FractureEdgeError(f"{where}: unknown key {key!r}; must be one of: {', '.join(known)}")


def _action(value: object, where: str) -> Action:
    if not isinstance(value, str) or value not in tuple(Action):
        raise FractureEdgeError(f"{where}: {value!r} must be one of: {', '.join(Action)}")
    return Action(value)


def _texts(value: object, where: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise FractureEdgeError(f'{where}: must be text or a list of texts, for example ["HAND", "WRIST*"]')
    return tuple(text.strip().casefold() for text in texts)


def _fits(patterns: Sequence[str], values: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(value.casefold(), pattern) for pattern in patterns for value in values)
