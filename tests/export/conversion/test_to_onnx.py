import gc
import weakref

import pytest

from export.conversion.to_onnx import _collecting_often


class _Graph:
    """Refers to itself, as the graphs of tf2onnx do."""

    def __init__(self) -> None:
        self.itself = self
        # What a copy of a small network holds besides its weights.
        self.nodes = [[number] for number in range(200)]


def _most_alive(copies: int) -> int:
    """Make copies one after another and return how many were alive at most."""
    alive: weakref.WeakSet[_Graph] = weakref.WeakSet()
    most = 0
    for _ in range(copies):
        alive.add(_Graph())
        most = max(most, len(alive))
    return most


def test_copies_that_nobody_holds_are_collected_soon() -> None:
    # Stand for the objects of TensorFlow, beside which the copies are few.
    others = [[number] for number in range(500_000)]
    gc.collect()
    usually = _most_alive(100)
    with _collecting_often():
        assert _most_alive(100) <= 5 < usually
    assert len(others) == 500_000


def test_garbage_is_collected_as_before_afterwards() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError), _collecting_often():
        1 / 0  # noqa: B018
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
