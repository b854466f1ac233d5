"""The commands that train: `data`, `train`, `train-all`, `tune`, `evaluate`."""
