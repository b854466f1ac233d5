"""Saving of weights where the disk may be full."""

import errno
import math
import os
import secrets
from pathlib import Path

import keras

#: Bytes of an HDF5 file beside the values: for each variable, and for the file.
_PER_VARIABLE, _PER_FILE = 1 << 12, 1 << 16
#: Of float32, the widest type of weights here.
_BYTES_PER_VALUE = 4
_PIECE = 1 << 20


def save_weights(model: keras.Model, path: Path) -> None:
    """Save the weights of a model, and the state of its optimizer if it has one, as ``.weights.h5``.

    Raises:
        OSError: There is no room for the file. This is found out before HDF5 writes: when it closes a file that
            the disk had no room for, it ends the process with a segmentation fault.
    """
    # A model that was never compiled has no such attribute.
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer else ())]
    values = sum(math.prod(variable.shape) * _BYTES_PER_VALUE for variable in variables)
    require_room(path, values + len(variables) * _PER_VARIABLE + _PER_FILE)
    model.save_weights(path)


def require_room(path: Path, size: int) -> None:
    """Check that a file of `size` bytes can be written, by writing one beside `path` and removing it.

    Free space alone does not tell it: there may be a quota or a limit on the size of files.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    trial = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with trial.open("wb") as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
            else:
                for _ in range(0, size, _PIECE):
                    stream.write(bytes(_PIECE))
    except OSError as error:
        number = error.errno or errno.EIO
        raise OSError(number, os.strerror(number), os.fspath(path)) from error
    finally:
        trial.unlink(missing_ok=True)
