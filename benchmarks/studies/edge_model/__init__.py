"""How the edge model was found: runs, cross-validations, learning curves."""
