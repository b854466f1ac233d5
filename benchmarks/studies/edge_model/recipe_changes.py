"""What was changed in a recipe before it was trained."""

import json
from typing import Any

from fracture_edge.errors import FractureEdgeError


def changes(given: Any, usual: Any, key: str = "") -> list[str]:
    """Values of a recipe that differ, as ``--set`` takes them; epochs have a column of their own."""
    if isinstance(usual, dict):
        # What the recipe leaves out, such as an option of the network, may have been given; a recipe of an older
        # version lacks what came later.
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
    """The recipe as it ships; ``None`` where the package has none of that name."""
    # Imports Keras, which nothing else here needs.
    from train.recipes.recipe import load_recipe
    from train.recipes.tables import plain_values

    try:
        return plain_values(load_recipe(model, name))
    except FractureEdgeError:
        return None
