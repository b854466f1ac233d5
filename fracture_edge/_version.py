"""Version of fracture-edge and of installed packages. Imports nothing, so that the build can read it."""

__version__ = "0.1.0"


def installed(*packages: str) -> dict[str, str]:
    """Return the versions of those `packages` that are installed, by name."""
    from importlib import metadata

    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
