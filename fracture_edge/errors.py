"""Exceptions, the status words of records, and exit codes."""

from enum import StrEnum

#: Exit codes of the command line: nothing was done, some of several files failed.
EXIT_FAILED, EXIT_SOME_FAILED = 1, 3


class Status(StrEnum):
    """Outcome of one image. Everything but ``OK`` says why there is no answer."""

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
    """Base of every error this package raises on purpose."""


class ModelError(FractureEdgeError):
    """A model file is missing, damaged, without our metadata, or of a newer schema."""


class ImageError(FractureEdgeError):
    """An image could not be used. The text names the file and what to do.

    Attributes:
        status: The word that a record carries for this failure.
        source: The file's name, or what stands for it (``<bytes>``, ``<array>``).
        detail: The failure in words, without the file's name.
    """

    status: Status = Status.UNREADABLE

    def __init__(self, source: str, detail: str, status: Status | None = None) -> None:
        super().__init__(f"{source}: {detail}")
        self.source = source
        self.detail = detail
        if status is not None:
            self.status = status


class ImageAccessError(ImageError):
    """The bytes could not be had: not found, no permission, no regular file, or an input/output error."""


class ImageFormatError(ImageError):
    """The bytes are of no format that can be read here, or what reads it is not installed."""

    status = Status.UNSUPPORTED_FORMAT


class ImageCorruptError(ImageError):
    """The format is known, the content is broken or cut off."""

    status = Status.CORRUPT


class ImageSizeError(ImageError):
    """The picture is too large to decode safely, or too small to show bone."""

    status = Status.TOO_LARGE
