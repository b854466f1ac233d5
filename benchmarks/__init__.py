"""Benchmarks of model quality and speed in every format. Needs the `[benchmark]` extra."""

import train  # noqa: F401 -- before TensorFlow: sets which kernels TensorFlow uses
