"""Studies for developers, run in a checkout: `python -m benchmarks.studies NAME`."""
