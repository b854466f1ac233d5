"""Runtimes of model files, each in a separate process."""
