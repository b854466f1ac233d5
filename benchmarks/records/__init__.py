"""Typed records of the contents of ``RUN.json``."""
