"""Reading of request bodies, raw or as a form, within limits that hold while the bytes arrive.

Everything stays in memory: a form parser that spools to temporary files would leave images on the disk.
"""

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from fracture_edge.serve.options import MAX_FILES
from fracture_edge.serve.problems import BusyError, DisconnectedError, RequestError

_FORM = b"multipart/form-data"
#: Name of an image without a file name, as `fracture_edge.images.sources.source_name` gives it.
_NO_NAME = "<bytes>"
#: Maximum number of parts of a form, and of bytes in the headers of one part.
_MAX_PARTS, _MAX_HEADER = 4 * MAX_FILES, 8192
#: Maximum length of the boundary of a form (RFC 2046, section 5.1.1).
_MAX_BOUNDARY = 70
_BUSY_SECONDS = 2
NO_ROOM = "too many images are being received; try again later"


class Upload(NamedTuple):
    """File that a request carries.

    Attributes:
        name: Its name, or ``<bytes>``.
        content: Its content.
    """

    name: str
    content: bytes


class Memory:
    """Bytes of bodies that are in memory, up to a limit. It belongs to one event loop.

    Attributes:
        limit: Maximum number of bytes.
        held: Number of bytes now.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0

    @contextmanager
    def part(self) -> Iterator["MemoryPart"]:
        """Give a request its part, which is given back at the end of the block."""
        part = MemoryPart(self)
        try:
            yield part
        finally:
            self.held -= part.taken


class MemoryPart:
    """Bytes that one request holds.

    Attributes:
        taken: Number of bytes.
    """

    def __init__(self, memory: Memory) -> None:
        self.taken, self._memory = 0, memory

    def take(self, number: int) -> None:
        """Take bytes when they have arrived, and not when they are announced: announcing costs a client nothing.

        Raises:
            BusyError: All requests together would hold too much.
        """
        if self._memory.held + number > self._memory.limit:
            raise BusyError(NO_ROOM, _BUSY_SECONDS)
        self._memory.held += number
        self.taken += number


async def read_uploads(request: Request, part: MemoryPart, max_bytes: int) -> list[Upload]:
    """Read the files of a request: those of a form, or the body itself.

    Args:
        request: Request.
        part: Part of the memory that the request may fill.
        max_bytes: Maximum size of the body.

    Returns:
        Files in their order, at least one.

    Raises:
        RequestError: The body is too large, or not a form that can be read, or there is no memory for it.
        DisconnectedError: The client has gone.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    pieces = _pieces(request, part, max_bytes)
    if kind.lower() != _FORM:
        # The buffer grows in place; joining pieces would take twice the size.
        content = io.BytesIO()
        async for piece in pieces:
            content.write(piece)
        return [Upload(_NO_NAME, content.getvalue())]
    form = _Form(parameters.get(b"boundary", b""))
    async for piece in pieces:
        form.write(piece)
    return form.files()


async def _pieces(request: Request, part: MemoryPart, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, and stop at the limits."""
    too_large = RequestError(413, f"the body is over the limit of {max_bytes / 1e6:,.0f} MB")
    # The parser of the protocol has checked that it is a number.
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    try:
        async for piece in request.stream():
            if part.taken + len(piece) > max_bytes:
                raise too_large
            part.take(len(piece))
            yield piece
    except ClientDisconnect:
        raise DisconnectedError from None


class _Form:
    """Files of a form (RFC 7578). Fields without a file name are passed over."""

    def __init__(self, boundary: bytes) -> None:
        self._files: list[Upload] = []
        self._parts = 0
        self._complete = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name, self._header_value = bytearray(), bytearray()
        self._name: str | None = None
        self._content = io.BytesIO()
        if not boundary:
            raise _broken("it states no boundary")
        if len(boundary) > _MAX_BOUNDARY:
            raise _broken("its boundary is too long")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_content,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def write(self, piece: bytes) -> None:
        """Parse the next piece of the body."""
        if self._complete or not piece:
            # What follows the last boundary has no meaning (RFC 2046, section 5.1.1).
            return
        try:
            self._parser.write(piece)
        except FormParserError:
            raise _broken("it does not follow RFC 7578") from None

    def files(self) -> list[Upload]:
        """Return the files when the body is complete."""
        if not self._complete:
            raise _broken("it ends too early")
        if not self._files:
            raise RequestError(400, "the form has no file; curl sends one with -F file=@image.png")
        return self._files

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise RequestError(413, f"the form has over {_MAX_PARTS} parts")
        self._headers, self._name, self._content = {}, None, io.BytesIO()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._add_header(self._header_name, data[start:end])

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._add_header(self._header_value, data[start:end])

    def _add_header(self, text: bytearray, more: bytes) -> None:
        text += more
        if len(text) + sum(map(len, self._headers.values())) > _MAX_HEADER:
            raise _broken("the header of a part is too long")

    def _end_header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = parameters.get(b"filename")
        # Browsers send an empty name for a field in which no file was chosen.
        self._name = name.decode("utf-8", "replace") if name else None
        if self._name is not None and len(self._files) == MAX_FILES:
            raise RequestError(413, f"over {MAX_FILES} files; send the others in another request")

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._content.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._name is not None:
            self._files.append(Upload(self._name, self._content.getvalue()))

    def _finish(self) -> None:
        self._complete = True


def _broken(reason: str) -> RequestError:
    return RequestError(400, f"the form cannot be read: {reason}")
