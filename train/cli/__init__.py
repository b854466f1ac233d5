"""Training commands: `data`, `train`, `train-all`, `tune`, `evaluate`."""
