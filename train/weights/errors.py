"""Exceptions of initial weights."""

from fracture_edge.errors import FractureEdgeError


class WeightsError(FractureEdgeError):
    """Initial weights are not available or do not fit the model."""
