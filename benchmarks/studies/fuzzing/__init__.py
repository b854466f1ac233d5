"""Broken files, by the hundred thousand."""
