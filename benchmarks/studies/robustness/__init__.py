"""Robustness and shortcut tests of a model."""
