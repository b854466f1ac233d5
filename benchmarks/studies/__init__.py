"""Studies that are made in a checkout, not by users: `python -m benchmarks.studies NAME`."""
