"""Robustness and shortcut tests of models."""
