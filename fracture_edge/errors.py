"""Exceptions, image statuses and exit codes."""

from enum import StrEnum

#: Exit codes of the command line: the command failed; some of several files failed.
EXIT_FAILED, EXIT_SOME_FAILED = 1, 3


class Status(StrEnum):
    """Status of one image: ``ok``, or the reason why it could not be classified.

    A member is equal to its string: ``Status.OK == "ok"``.

    Attributes:
        OK: The image was classified.
        NOT_FOUND: The file does not exist.
        PERMISSION_DENIED: The file may not be read.
        IS_DIRECTORY: The path names a folder.
        NOT_A_FILE: The path names a pipe, a socket or a device.
        UNREADABLE: Reading the file failed with another input/output error.
        EMPTY: The file has no content.
        UNSUPPORTED_FORMAT: The file format, or a variant of it, is not supported.
        DICOM_NOT_INSTALLED: The file is DICOM and pydicom is not installed.
        DECODER_NOT_INSTALLED: The decoder of a supported format is not installed.
        CORRUPT: The content of the file is invalid.
        TRUNCATED: The file ends too early.
        TOO_LARGE: The image exceeds the limit of pixels, memory or frames.
        TOO_SMALL: A side of the image is under 32 pixels.
    """

    OK = "ok"
    NOT_FOUND = "not_found"
    PERMISSION_DENIED = "permission_denied"
    IS_DIRECTORY = "is_directory"
    NOT_A_FILE = "not_a_file"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    UNSUPPORTED_FORMAT = "unsupported_format"
    DICOM_NOT_INSTALLED = "dicom_not_installed"
    DECODER_NOT_INSTALLED = "decoder_not_installed"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"


class FractureEdgeError(Exception):
    """Base class of the errors that this package raises."""


class ModelError(FractureEdgeError):
    """A model file cannot be used: missing, damaged, without fracture-edge metadata, or of a newer schema."""


class ImageError(FractureEdgeError):
    """An image could not be used. The message names the file and, where there is one, the remedy.

    Attributes:
        status: Status of the image, as in `Prediction.status`.
        source: Path of the file, or ``<bytes>``, ``<array>`` or ``<file>``.
        detail: Description of the failure, without the name of the file.
    """

    status: Status = Status.UNREADABLE

    def __init__(self, source: str, detail: str, status: Status | None = None) -> None:
        super().__init__(f"{source}: {detail}")
        self.source = source
        self.detail = detail
        if status is not None:
            self.status = status


class ImageAccessError(ImageError):
    """The file could not be read: not found, no permission, not a regular file, empty, or an I/O error."""


class ImageFormatError(ImageError):
    """The format is not supported, or its decoder is not installed."""

    status = Status.UNSUPPORTED_FORMAT


class ImageCorruptError(ImageError):
    """The format is supported, but the content is invalid or truncated."""

    status = Status.CORRUPT


class ImageSizeError(ImageError):
    """The image is too large to decode safely, or too small to show a bone."""

    status = Status.TOO_LARGE
