"""Requirements of the installed package, and comparison of versions with them."""

from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


class Needed(NamedTuple):
    """Package that fracture-edge requires.

    Attributes:
        name: Name of the package.
        specifier: Specifier of the supported versions, for example ``>=2.0,<3``.
        extra: Extra that requires it; ``None`` if fracture-edge itself does.
    """

    name: str
    specifier: str
    extra: str | None


def satisfies(version: str, specifier: str) -> bool:
    """Return whether a version meets a specifier such as ``>=2.0,<3``; a pre-release counts as the release."""
    return SpecifierSet(specifier).contains(Version(version).base_version)


def requirements() -> Iterator[Needed]:
    """Read the requirements of the installed package; there are none if it runs from source."""
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
                # A requirement for another system or Python version.
                continue
        yield Needed(found.name.lower(), str(found.specifier), extra)


def supported_python() -> str | None:
    """Read the supported Python versions, for example ``>=3.11,<3.14``; ``None`` if it runs from source."""
    try:
        found = metadata.metadata("fracture-edge").json.get("requires_python")
    except metadata.PackageNotFoundError:
        return None
    return found if isinstance(found, str) else None
