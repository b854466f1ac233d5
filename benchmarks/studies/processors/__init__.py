"""Comparison of a model's decisions on emulated processors."""
