"""Training: data tables and splits, architectures, recipes and the loop. Needs the `[train]` extra."""
