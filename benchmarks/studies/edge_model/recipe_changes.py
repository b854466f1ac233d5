"""Differences between a trained recipe and the shipped one."""

import json
from typing import Any

from fracture_edge.errors import FractureEdgeError


def changes(given: Any, usual: Any, key: str = "") -> list[str]:
    """List the values of a recipe that differ, in the form ``KEY=VALUE`` of ``--set``.

    Numbers of epochs are ignored, because the tables have a separate column for them.

    Args:
        given: Values of the trained recipe.
        usual: Values of the shipped recipe.
        key: Key of these values within the recipe.
    """
    if isinstance(usual, dict):
        # Values that are missing from the shipped recipe, such as options of the network, may have been given;
        # values that are missing from a recipe of an older version are ignored.
        return [
            change
            for name, value in given.items()
            for change in changes(value, usual.get(name), f"{key}.{name}".strip("."))
        ]
    if isinstance(usual, list) and len(usual) == len(given):
        return [
            change
            for number, value in enumerate(usual)
            for change in changes(given[number], value, f"{key}.{number}")
        ]
    if given == usual or key.endswith(".epochs"):
        return []
    return [f"{key}={json.dumps(given)}"]


def shipped(model: str, name: str) -> Any:
    """Load a shipped recipe as plain values; return ``None`` if the package has none of that name."""
    # Imported late: they import Keras, which nothing else here needs.
    from train.recipes.recipe import load_recipe
    from train.recipes.tables import plain_values

    try:
        return plain_values(load_recipe(model, name))
    except FractureEdgeError:
        return None
