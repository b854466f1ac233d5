"""What the installed package says it needs, and whether it is met.

Without the `packaging` package: it comes with onnxruntime, whose absence is one of the things looked for.
"""

import re
from collections.abc import Iterable, Iterator


def satisfies(version: str, spec: str) -> bool:
    """Whether `version` meets a specifier such as ``>=2.0,<3``. Numbers alone count: 2.0rc1 is taken for 2.0."""
    for part in filter(None, (part.strip() for part in spec.split(","))):
        match = re.match(r"(>=|<=|==|!=|<|>)\s*([\d.]+)", part)
        if match is None:
            continue
        have, wanted = _numbers(version), _numbers(match[2])
        length = max(len(have), len(wanted))
        order = _sign(_padded(have, length), _padded(wanted, length))
        if order not in {">=": (0, 1), "<=": (-1, 0), "==": (0,), "!=": (-1, 1), "<": (-1,), ">": (1,)}[match[1]]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _padded(numbers: tuple[int, ...], length: int) -> tuple[int, ...]:
    return numbers + (0,) * (length - len(numbers))


def _sign(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return (one > other) - (one < other)


def requirements() -> Iterator[tuple[str, str, str | None]]:
    """Name, specifier and extra of everything that the installed package says it needs."""
    from importlib import metadata

    try:
        lines: Iterable[str] = metadata.requires("fracture-edge") or ()
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        requirement, _, marker = line.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^)]*)\)?", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        if match is not None:
            yield match[1].lower(), match[2].strip(), extra[1] if extra else None


def supported_python() -> str | None:
    """Such as ``>=3.11,<3.14``; ``None`` where fracture-edge is not installed but run from source."""
    from importlib import metadata

    try:
        found = metadata.metadata("fracture-edge").json.get("requires_python")
    except metadata.PackageNotFoundError:
        return None
    return found if isinstance(found, str) else None
