"""Routes of the server."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from fracture_edge.classifier import FractureClassifier
from fracture_edge.errors import FractureEdgeError
from fracture_edge.serve.body import Memory, read_uploads
from fracture_edge.serve.guards import Authenticated, NamedHost, Observed, SameOrigin
from fracture_edge.serve.metrics import METRICS_TYPE, Metrics
from fracture_edge.serve.openapi import openapi
from fracture_edge.serve.options import ServeOptions
from fracture_edge.serve.problems import RequestError
from fracture_edge.serve.work import Workers, gauges, require_heatmap

#: Bytes of the page that are sent at a time: the rest waits until the client has read them.
_CHUNK = 1 << 16
_PARAMETERS = frozenset({"policy", "heatmap"})


class Service:
    """What the routes share.

    Attributes:
        workers: Worker threads.
        metrics: Counts and times.
        is_stopping: Whether the server has been told to stop.
    """

    def __init__(
        self,
        classifier: FractureClassifier,
        options: ServeOptions,
        make_page: Callable[[], str],
        note: Callable[[str], None],
    ) -> None:
        """Prepare the service; nothing is classified yet.

        Args:
            classifier: Classifier with one thread for each inference.
            options: Options of the server.
            make_page: Function that makes the page for browsers, or raises `FractureEdgeError`.
            note: Function that is called with messages.
        """
        self.metrics = Metrics(classifier.info.full_name, classifier.sha256)
        self.workers = Workers(classifier, options, self.metrics)
        self.is_stopping = False
        self._classifier, self._options, self._make_page, self._note = classifier, options, make_page, note
        self._memory = Memory(options.max_held_bytes)
        self._page: asyncio.Task[bytes] | None = None
        info = {"sha256": classifier.sha256, **json.loads(classifier.info.to_json())}
        self._model = json.dumps(info, indent=2) + "\n"
        self._openapi = openapi(tuple(classifier.info.operating_points))

    def app(self) -> Observed:
        """Make the ASGI application."""
        routes = [
            Route("/", self._get_page),
            Route("/v1/classify", self._classify, methods=["POST"]),
            Route("/v1/model", self._get_model),
            Route("/healthz", self._get_health),
            Route("/readyz", self._get_readiness),
            Route("/metrics", self._get_metrics),
            Route("/openapi.json", self._get_openapi),
        ]
        options = self._options
        layers = [Middleware(NamedHost, options=options)]
        if options.origins:
            # Before the token: browsers ask for permission without it.
            layers.append(
                Middleware(
                    CORSMiddleware,
                    allow_origins=options.origins,
                    allow_methods=["GET", "POST"],
                    allow_headers=["Authorization"],
                )
            )
        layers.append(Middleware(SameOrigin, options=options))
        if options.token is not None:
            layers.append(Middleware(Authenticated, token=options.token))
        handlers: dict[Any, Any] = {RequestError: _refuse, HTTPException: _refuse_route, Exception: _refuse_defect}
        app = Starlette(routes=routes, middleware=layers, exception_handlers=handlers)
        app.router.redirect_slashes = False
        # Around everything, as Starlette's own layer for errors prints tracebacks.
        return Observed(app, self.metrics, frozenset(route.path for route in routes), self._note)

    async def _classify(self, request: Request) -> Response:
        policy, heatmap = _parameters(request)
        classifier = self.workers.with_policy(policy)
        if heatmap:
            require_heatmap(classifier)
        # A body that would be refused afterwards need not be received.
        self.workers.require_room()
        with self._memory.part() as part:
            uploads = await read_uploads(request, part, self._options.max_body_bytes)
            gone = asyncio.create_task(_wait_until_gone(request))
            try:
                text = await self.workers.classify(uploads, classifier, gone, heatmap=heatmap)
            finally:
                gone.cancel()
        return Response(text, media_type="application/json")

    async def _get_page(self, request: Request) -> Response:
        if self._page is None:
            # Once, however many ask at the same time.
            self._page = asyncio.create_task(asyncio.to_thread(lambda: self._make_page().encode("utf-8")))
        try:
            page = await asyncio.shield(self._page)
        except FractureEdgeError as error:
            raise RequestError(404, f"there is no page here: {error}") from None
        tag = f'"{hashlib.sha256(page).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        headers["Content-Length"] = str(len(page))
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/html")
        view = memoryview(page)
        pieces = (bytes(view[at : at + _CHUNK]) for at in range(0, len(view), _CHUNK))

        async def stream() -> Any:
            for piece in pieces:
                yield piece

        return StreamingResponse(stream(), headers=headers, media_type="text/html")

    async def _get_model(self, request: Request) -> Response:
        return Response(self._model, media_type="application/json")

    async def _get_health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _get_readiness(self, request: Request) -> Response:
        if self.is_stopping:
            raise RequestError(503, "the server is stopping", {"Retry-After": "10"})
        self.workers.require_room()
        return PlainTextResponse("ready\n")

    async def _get_metrics(self, request: Request) -> Response:
        text = self.metrics.text(gauges(self.workers, self._memory.held))
        return Response(text, headers={"Content-Type": METRICS_TYPE})

    async def _get_openapi(self, request: Request) -> Response:
        return JSONResponse(self._openapi)


def _parameters(request: Request) -> tuple[str, bool]:
    """Return the policy, empty if none is given, and whether a heat map is wanted.

    Raises:
        RequestError: A parameter is unknown, given twice, or has another value than those that are possible.
    """
    given = request.query_params.multi_items()
    if unknown := sorted({name for name, _ in given} - _PARAMETERS):
        # A misspelt policy must not be answered by another one. The name is cut: it is the client's text.
        raise RequestError(400, f"unknown parameter {unknown[0][:40]!r}; must be one of: heatmap, policy")
    values = dict(given)
    if len(values) < len(given):
        raise RequestError(400, "a parameter is given twice")
    if values.get("heatmap", "0") not in ("0", "1"):
        raise RequestError(400, "heatmap must be one of: 0, 1")
    return values.get("policy", ""), values.get("heatmap") == "1"


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refuse(request: Request, error: RequestError) -> Response:
    return error.response()


async def _refuse_defect(request: Request, error: Exception) -> Response:
    # Starlette raises it again, so that `Observed` tells of it.
    return RequestError(500, f"this is a defect of fracture-edge ({type(error).__name__})").response()


async def _refuse_route(request: Request, error: HTTPException) -> Response:
    detail = {404: "no such path; /openapi.json lists them", 405: "this path takes another method"}
    text = detail.get(error.status_code, error.detail)
    return RequestError(error.status_code, text, error.headers).response()
