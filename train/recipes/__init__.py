"""Hyper-parameters as data: one TOML file for each model and recipe, read by `train.recipes.recipe`."""
