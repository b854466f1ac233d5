"""Runtimes of model files, each in a process of its own."""
