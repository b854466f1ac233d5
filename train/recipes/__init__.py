"""Recipes: hyper-parameters in TOML files, one for each model and recipe, read by `train.recipes.recipe`."""
