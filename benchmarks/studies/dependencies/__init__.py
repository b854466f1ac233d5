"""The versions of dependencies that the package works with."""
