"""TensorFlow without its start-up chatter."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def quiet_tensorflow() -> None:
    """Import TensorFlow, if Keras will run on it, without its start-up chatter on stderr.

    Its C++ parts write there before any level can be set: build options, and a search for GPUs. What goes
    wrong later still shows, but for a warning of several functions where there are several models.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    with _stderr_closed(), suppress(ModuleNotFoundError):
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.get_logger().addFilter(_no_retracing)


def _no_retracing(record: Any) -> bool:
    """TensorFlow counts the functions of all models together, and has each new one for a loop gone wrong."""
    return "triggered tf.function retracing" not in record.getMessage()


@contextmanager
def _stderr_closed() -> Iterator[None]:
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
