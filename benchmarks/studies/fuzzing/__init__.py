"""Fuzzing of the image reader with broken files."""
