"""Benchmarks: how good and how fast a model is in each format. Needs the `[benchmark]` extra."""

import train  # noqa: F401 -- before TensorFlow: it chooses the kernels
