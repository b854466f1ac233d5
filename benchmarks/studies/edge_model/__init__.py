"""Development of the edge model: log of runs, cross-validations, learning curves."""
