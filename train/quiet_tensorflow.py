"""Import of TensorFlow without its start-up messages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def quiet_tensorflow() -> None:
    """Import TensorFlow, if it is Keras's backend, without its start-up messages on stderr.

    Its C++ code writes there before any log level can be set: build options, and a search for GPUs. Later messages
    are shown, except a warning about retracing, which several models in one process cause.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    with _stderr_closed(), suppress(ModuleNotFoundError):
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.get_logger().addFilter(_no_retracing)


def _no_retracing(record: Any) -> bool:
    """Reject the warning about retracing: TensorFlow counts the functions of all models as retracing of one."""
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
