"""Response schemas for ``/openapi.json``; the rows themselves are made by :mod:`moue.runtime.results`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from typing_extensions import NotRequired, TypedDict

#: A body of bytes, in an OpenAPI description.
BINARY = {"schema": {"type": "string", "format": "binary"}}

_BASE64 = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "base64, or a data: URL of it; never another URL or a path",
    "examples": ["iVBORw0KGgo…", "data:image/jpeg;base64,/9j/4AAQ…"],
}
_BASE64_IMAGE = {
    "oneOf": [
        _BASE64,
        {
            "type": "object",
            "properties": {"data": _BASE64, "name": {"type": "string", "description": "the row's source"}},
            "required": ["data"],
            "additionalProperties": False,
        },
    ]
}
#: A JSON body with images, in an OpenAPI description.
BASE64_IMAGES = {
    "oneOf": [
        {
            "type": "object",
            "properties": {key: schema},
            "required": [key],
            "additionalProperties": False,
        }
        for key, schema in (
            ("image", _BASE64_IMAGE),
            ("images", {"type": "array", "items": _BASE64_IMAGE, "minItems": 1}),
        )
    ]
}


class ErrorResponse(TypedDict):
    """The response to every error."""

    detail: Annotated[str, Field(description="One or two sentences: what was required, and what was received.")]


class Pose(TypedDict):
    """How a head is turned, in degrees."""

    yaw: Annotated[float, Field(description="positive: to the right of the image")]
    pitch: Annotated[float, Field(description="positive: down")]
    roll: Annotated[float, Field(description="positive: clockwise")]


class Quality(TypedDict):
    """How good the image of a face is."""

    size: Annotated[float, Field(description="longer side of the box, in pixels")]
    sharpness: Annotated[float, Field(description="of the crop: detail relative to contrast", ge=0)]
    contrast: Annotated[float, Field(description="of the crop: standard deviation of the gray values", ge=0, le=0.5)]
    brightness: Annotated[float, Field(description="of the crop: mean of the gray values", ge=0, le=1)]
    visible: Annotated[float, Field(description="part of the box that is inside the image", ge=0, le=1)]
    pose: Annotated[Pose | None, Field(description="null without landmarks that form a face")]
    flaws: Annotated[list[str], Field(description="why the image is too poor to be read: small, blurred, …")]


class Face(TypedDict):
    """One face."""

    box: Annotated[
        list[float], Field(description="x, y, width, height; pixels of the upright image", min_length=4, max_length=4)
    ]
    score: Annotated[float, Field(description="confidence of the detector", ge=0, le=1)]
    landmarks: NotRequired[
        Annotated[list[list[float]], Field(description="eyes, nose, corners of the mouth; x and y of each")]
    ]
    track: NotRequired[Annotated[int, Field(description="identity of a person in a video or of a camera")]]
    label: Annotated[str, Field(description="the most probable expression")]
    uncertain: Annotated[
        bool, Field(description="whether the probability is below the model's threshold, or the quality poor")
    ]
    quality: NotRequired[Quality]
    probabilities: Annotated[dict[str, float], Field(description="of each expression, 0 to 1")]


class Row(TypedDict):
    """The result for one image or one frame."""

    source: Annotated[str, Field(description="the file's name, without folders; image 1, image 2, … where it has none")]
    model: Annotated[str | None, Field(description="the model that read it")]
    status: Annotated[str, Field(description="ok, no_face, unreadable, too_large or busy")]
    reason: Annotated[str | None, Field(description="why it could not be read")]
    width: Annotated[int, Field(description="pixels of the upright image; 0 where it could not be read")]
    height: int
    frame: NotRequired[Annotated[int, Field(description="number in the video, from 0")]]
    timestamp: NotRequired[Annotated[float, Field(description="seconds from the video's start")]]
    faces: list[Face]


class UnreadableResponse(ErrorResponse):
    """No image could be read."""

    rows: NotRequired[list[Row]]


ModelName = Annotated[str | None, Query(description="a name that /v1/models lists; its default where missing")]
DetectorName = Annotated[
    str | None,
    Query(description="centerface, or none where each image is one face; the server's default where missing"),
]


class VideoJob(TypedDict):
    """The state of an uploaded video."""

    id: str
    source: str
    status: Annotated[str, Field(description="uploading, waiting, reading, done, failed or cancelled")]
    reason: Annotated[str | None, Field(description="why it failed")]
    remark: Annotated[str | None, Field(description="what the annotated video lacks, as damaged sound")]
    frames: Annotated[int, Field(description="processed so far")]
    total: Annotated[int | None, Field(description="number of frames, where the file says so")]
    rows: Annotated[int, Field(description="written so far")]
    annotated: Annotated[bool, Field(description="whether there is an annotated video")]
    seconds: Annotated[float, Field(description="spent on reading")]


class Model(TypedDict):
    """An available model."""

    name: str
    network: str
    labels: list[str]
    colors: Annotated[dict[str, str], Field(description="color of each label, #rrggbb")]
    about: Annotated[str | None, Field(description="what it is for, in a line; null for models of your own")]
    default: Annotated[bool, Field(description="the default of requests")]
    preselected: Annotated[bool, Field(description="whether the page begins with it")]
    size: Annotated[int, Field(description="side of the square input, in pixels")]
    color: Annotated[str, Field(description="gray or rgb")]
    parameters: int
    license: str
    scores: Annotated[dict[str, float], Field(description="measured, 0 to 1")]


class Limits(TypedDict):
    """The limits of one request."""

    max_bytes: int
    max_files: int
    max_pixels: int
    max_video_bytes: int
    max_queue: Annotated[int, Field(description="images that may wait to be read before requests are rejected")]
    detector: Annotated[str, Field(description="the default of requests")]


_ERRORS = {
    400: "The request is invalid",
    401: "The token is missing or wrong",
    403: "The request comes from a page of another site",
    404: "Not found",
    408: "The upload took too long",
    409: "Not available yet",
    413: "Too large",
    415: "Unsupported media type",
    422: "The content cannot be read",
    429: "Overloaded",
    503: "The server is stuck or shuts down",
    507: "No disk space left",
}
_RETRY_AFTER = {
    "Retry-After": {"description": "seconds to wait", "required": True, "schema": {"type": "integer", "minimum": 1}}
}


def error_responses(*codes: int, model: type = ErrorResponse) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of the errors with these status codes."""
    return {
        code: {
            "description": _ERRORS[code],
            "model": model,
            **({"headers": _RETRY_AFTER} if code in (429, 503) else {}),
        }
        for code in codes
    }
