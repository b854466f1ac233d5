"""Benchmarks: how good and how fast a model is in each format. Needs the `[benchmark]` extra."""
