"""Requests that are not answered, as problem details (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse

PROBLEM_TYPE = "application/problem+json"


class RequestError(Exception):
    """A request is not answered.

    Attributes:
        status: HTTP status, 400 or more.
        detail: What is wrong and what to do; nothing of an image or of a header.
        headers: Further headers of the response.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = HTTPStatus(status), detail, dict(headers or {})

    def response(self) -> JSONResponse:
        """Return the response."""
        content = {"title": self.status.phrase, "status": int(self.status), "detail": self.detail}
        return JSONResponse(content, int(self.status), self.headers, PROBLEM_TYPE)


class BusyError(RequestError):
    """There is no room for the request now."""

    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__(503, detail, {"Retry-After": str(seconds)})


class DisconnectedError(Exception):
    """The client has gone, so that nobody waits for an answer."""
