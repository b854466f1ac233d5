"""What every request passes before its route: name of the server, origin, token; and what every response gets."""

import base64
import binascii
import hmac
import ipaddress
import time
from collections.abc import Callable
from traceback import extract_tb
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fracture_edge.serve.metrics import Metrics
from fracture_edge.serve.options import ServeOptions
from fracture_edge.serve.problems import DisconnectedError, RequestError

#: Paths that need no token: they tell a monitor nothing but that the server lives.
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
}
#: Status in the metrics for clients that have gone; nothing is sent.
_GONE = 499


class Observed:
    """Outermost layer: counts every request, and tells of defects without quoting anything."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str], note: Callable[[str], None]) -> None:
        """Wrap an application.

        Args:
            app: Application.
            metrics: Metrics to count in.
            paths: Paths of the routes; requests for others are counted as ``other``.
            note: Function that is called with messages.
        """
        self._app, self._metrics, self._paths, self._note = app, metrics, paths, note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        started, status = time.perf_counter(), 0

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except DisconnectedError:
            status = _GONE
        except Exception as error:
            place = extract_tb(error.__traceback__)[-1]
            # The message of an error may quote an image's header.
            self._note(f"a request failed: {type(error).__name__} in {place.name}, line {place.lineno}")
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._metrics.add_request(path, status, time.perf_counter() - started)


class NamedHost:
    """Layer that refuses requests for other host names.

    A page of a foreign site can make its own name point to this machine, and would then be of the same origin as
    the server (DNS rebinding). It cannot do so with an IP address.
    """

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        """Wrap an application.

        Args:
            app: Application.
            options: Options of the server.
        """
        self._app = app
        self._names = {"localhost", options.host.lower(), *(name.lower() for name in options.host_names)} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._is_ours(Headers(scope=scope).get("host", "")):
            await self._app(scope, receive, send)
            return
        refusal = RequestError(421, "the server is not called by this name; --allow-host allows further names")
        await refusal.response()(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.rstrip(".") in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class SameOrigin:
    """Layer that refuses requests from pages of other origins.

    CORS keeps such pages from reading answers, but their requests would still be worked on.
    """

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        """Wrap an application.

        Args:
            app: Application.
            options: Options of the server.
        """
        self._app, self._origins = app, frozenset(options.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        # Behind a proxy that ends TLS the scheme differs; the name tells whose page it is.
        own = origin is not None and origin.partition("://")[2] == headers.get("host")
        if origin is None or own or origin in self._origins:
            await self._app(scope, receive, send)
            return
        refusal = RequestError(403, "the request comes from a page of another origin; --cors allows origins")
        await refusal.response()(scope, receive, send)


class Authenticated:
    """Layer that asks for the token: as a bearer token, or as the password that a browser asks the user for."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Wrap an application.

        Args:
            app: Application.
            token: Token that requests must carry.
        """
        self._app, self._token = app, token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        given = _given(Headers(scope=scope).get("authorization", ""))
        if scope["path"] in OPEN_PATHS or hmac.compare_digest(given, self._token):
            await self._app(scope, receive, send)
            return
        refusal = RequestError(
            401,
            "send the token: 'Authorization: Bearer TOKEN', or as the password in a browser",
            {"WWW-Authenticate": 'Basic realm="fracture-edge", Bearer'},
        )
        await refusal.response()(scope, receive, send)


def _given(authorization: str) -> bytes:
    """Return the token in an Authorization header; empty if there is none."""
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(text.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return text.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
