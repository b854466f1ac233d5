"""Our own version, and those of what else is installed. Imports nothing, so that packaging can read it."""

__version__ = "0.1.0"


def installed(*packages: str) -> dict[str, str]:
    """Versions of those of `packages` that are installed, by name."""
    from importlib import metadata

    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
