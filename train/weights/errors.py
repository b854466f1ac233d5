"""What goes wrong with initial weights."""

from fracture_edge.errors import FractureEdgeError


class WeightsError(FractureEdgeError):
    """Initial weights cannot be had or do not fit."""
