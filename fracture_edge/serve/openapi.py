"""Description of the interface (OpenAPI 3.1). A test holds it against the routes and the records."""

from typing import Any

from fracture_edge._version import __version__
from fracture_edge.attributes import BodyPartCode
from fracture_edge.errors import Status
from fracture_edge.policy import Decision, ReasonCode
from fracture_edge.serve.metrics import METRICS_TYPE
from fracture_edge.serve.options import MAX_FILES, MAX_HEATMAPS
from fracture_edge.serve.problems import PROBLEM_TYPE

_TEXT = {"text/plain": {"schema": {"type": "string"}}}
_RECORD = {"$ref": "#/components/schemas/Record"}


def openapi(policies: tuple[str, ...]) -> dict[str, Any]:
    """Describe the interface.

    Args:
        policies: Names of the operating points of the model.

    Returns:
        OpenAPI document, as plain values for JSON.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fracture-edge",
            "version": __version__,
            "summary": "Bone fracture classification of X-ray images.",
            "description": "For research and education. Not a medical device.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"token": []}, {"password": []}],
        "paths": {
            "/": {"get": _get("The classifier as a page for browsers.", {"text/html": {}}, 404)},
            "/v1/classify": {"post": _classify(policies)},
            "/v1/model": {"get": _get("Metadata of the model, as `fracture-edge info` prints it.", _JSON)},
            "/healthz": {"get": {**_get("Whether the server lives.", _TEXT), "security": [{}]}},
            "/readyz": {"get": {**_get("Whether it takes requests now.", _TEXT, 503), "security": [{}]}},
            "/metrics": {"get": _get("Counts and times for Prometheus.", {METRICS_TYPE: {}})},
            "/openapi.json": {"get": _get("This document.", _JSON)},
        },
        "components": {
            "schemas": {"Record": _record(), "Problem": _PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The token as the password, with any user name: for the page in a browser.",
                },
            },
        },
    }


_JSON = {"application/json": {"schema": {"type": "object"}}}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do."},
    },
}
#: Responses without an answer, by status.
_REFUSALS = {
    400: "A parameter or the form cannot be read.",
    401: "The token is missing or wrong.",
    403: "A page of another origin has sent the request; see --cors.",
    404: "There is no page in this installation.",
    408: "The request came too slowly.",
    413: "The body is too large, or has too many files.",
    421: "The server is not called by this name; see --allow-host.",
    503: "The queue or the memory is full, or the server stops.",
}


def _classify(policies: tuple[str, ...]) -> dict[str, Any]:
    image = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
    form = {"type": "object", "additionalProperties": {"type": "array", "items": image["schema"]}}
    return {
        "summary": "Classify images.",
        "description": "Every file gets a record, as `fracture-edge classify --json` prints it, a DICOM file one "
        "for each frame; a file that cannot be used gets one with its status. The format is found from the "
        "content.",
        "parameters": [
            {
                "name": "policy",
                "in": "query",
                "description": "Operating point of the model, in place of the server's.",
                "schema": {"type": "string", "enum": list(policies)},
            },
            {
                "name": "heatmap",
                "in": "query",
                "description": "1: the image with the heat map over it in each record; of the first "
                f"{MAX_HEATMAPS} pictures of a request.",
                "schema": {"type": "string", "enum": ["0", "1"], "default": "0"},
            },
        ],
        "requestBody": {
            "required": True,
            "description": f"One image, or a form with up to {MAX_FILES} of them.",
            "content": {"*/*": image, "multipart/form-data": {"schema": form}},
        },
        "responses": {
            "200": {
                "description": "Records in the order of the files.",
                "content": {"application/json": {"schema": {"type": "array", "items": _RECORD}}},
            },
            **_refusals(400, 401, 403, 408, 413, 421, 503),
        },
    }


def _get(summary: str, content: dict[str, Any], *refusals: int) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}, **_refusals(*refusals)},
    }


def _refusals(*statuses: int) -> dict[str, Any]:
    schema = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found: dict[str, Any] = {}
    for status in statuses:
        # Answers of the parser of the protocol, before there is a request, are in words.
        found[str(status)] = {"description": _REFUSALS[status], "content": _TEXT if status == 408 else schema}
    if "503" in found:
        found["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return found


def _record() -> dict[str, Any]:
    number, text, part = {"type": ["number", "null"]}, {"type": "string"}, {"type": ["string", "null"]}
    always = {
        "path": {**text, "description": "File name of the form, or <bytes>."},
        "frame": {"type": "integer", "minimum": 1},
        "frames": {"type": "integer", "minimum": 1},
        "status": {"enum": [str(status) for status in Status]},
        "decision": {"enum": [*map(str, Decision), None]},
        "probability": {**number, "minimum": 0, "maximum": 1, "description": "P(fractured)."},
        "threshold": {**number, "minimum": 0, "maximum": 1},
        "reason": text,
        "model": text,
        "model_sha256": text,
        "elapsed_ms": {"type": "number"},
        "reason_code": {"enum": [*map(str, ReasonCode), None]},
    }
    further = {
        "body_part": part,
        "body_part_probability": number,
        "body_part_code": {"enum": [*map(str, BodyPartCode), None]},
        "view": part,
        "view_probability": number,
        "classes": {"type": ["object", "null"], "additionalProperties": {"type": "number"}},
        "heatmap": {**part, "description": "With heatmap=1: a PNG file as a data URI."},
    }
    return {"type": "object", "required": list(always), "properties": {**always, **further}}
