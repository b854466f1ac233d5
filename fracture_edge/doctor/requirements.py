"""Requirements of the installed package, and whether they are met."""

from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


class Needed(NamedTuple):
    """A package that fracture-edge needs.

    Attributes:
        name: Name of the package.
        specifier: Versions that are supported, such as ``>=2.0,<3``.
        extra: Extra that needs it; ``None`` for the bare install.
    """

    name: str
    specifier: str
    extra: str | None


def satisfies(version: str, specifier: str) -> bool:
    """Whether `version` meets a specifier such as ``>=2.0,<3``; pre-releases count as what they precede."""
    return SpecifierSet(specifier).contains(Version(version).base_version)


def requirements() -> Iterator[Needed]:
    """Read what the installed package says it needs; nothing where it runs from source."""
    try:
        lines = metadata.requires("fracture-edge") or ()
    except metadata.PackageNotFoundError:
        return
    extras = metadata.metadata("fracture-edge").get_all("Provides-Extra") or ()
    for line in lines:
        found = Requirement(line)
        marker = found.marker
        extra = None
        if marker is not None and not marker.evaluate({"extra": ""}):
            extra = next((name for name in extras if marker.evaluate({"extra": name})), None)
            if extra is None:
                # For another system or Python.
                continue
        yield Needed(found.name.lower(), str(found.specifier), extra)


def supported_python() -> str | None:
    """Read the supported versions of Python, such as ``>=3.11,<3.14``; ``None`` where it runs from source."""
    try:
        found = metadata.metadata("fracture-edge").json.get("requires_python")
    except metadata.PackageNotFoundError:
        return None
    return found if isinstance(found, str) else None
