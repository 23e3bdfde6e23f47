"""What answers look like, for ``/openapi.json``; the rows themselves are made by :mod:`moue.runtime.results`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import NotRequired, TypedDict


class Problem(TypedDict):
    """Every error's answer."""

    detail: Annotated[str, Field(description="One or two sentences: what was required, and what came.")]


class Face(TypedDict):
    """One face."""

    box: Annotated[
        list[float], Field(description="x, y, width, height; pixels of the upright image", min_length=4, max_length=4)
    ]
    score: Annotated[float, Field(description="how sure the detector is", ge=0, le=1)]
    landmarks: NotRequired[
        Annotated[list[list[float]], Field(description="eyes, nose, corners of the mouth; x and y of each")]
    ]
    track: NotRequired[Annotated[int, Field(description="one number a person, in videos and of cameras")]]
    label: Annotated[str, Field(description="the likeliest expression")]
    uncertain: Annotated[bool, Field(description="below the model's threshold")]
    probabilities: Annotated[dict[str, float], Field(description="of each expression, 0 to 1")]


class Row(TypedDict):
    """The answer for one image, or one frame."""

    source: Annotated[str, Field(description="the file's name, without folders")]
    status: Annotated[str, Field(description="ok, no_face, unreadable, too_large or busy")]
    reason: Annotated[str | None, Field(description="why it could not be read")]
    width: Annotated[int, Field(description="pixels of the upright image; 0 where it could not be read")]
    height: int
    frame: NotRequired[Annotated[int, Field(description="number in the video, from 0")]]
    timestamp: NotRequired[Annotated[float, Field(description="seconds from the video's start")]]
    faces: list[Face]


class Unread(Problem):
    """None of the images could be read."""

    rows: NotRequired[list[Row]]


class Video(TypedDict):
    """A video on its way through."""

    id: str
    source: str
    status: Annotated[str, Field(description="uploading, waiting, reading, done, failed or cancelled")]
    reason: Annotated[str | None, Field(description="why it failed")]
    frames: Annotated[int, Field(description="gone by so far")]
    total: Annotated[int | None, Field(description="frames in all, where the video tells")]
    rows: Annotated[int, Field(description="written so far")]
    annotated: Annotated[bool, Field(description="whether the annotated video is there")]
    seconds: Annotated[float, Field(description="of reading")]


class Model(TypedDict):
    """A model that can be asked for."""

    name: str
    network: str
    labels: list[str]
    colors: Annotated[dict[str, str], Field(description="of each label, #rrggbb")]
    default: Annotated[bool, Field(description="used when a request names none")]
    size: Annotated[int, Field(description="pixels of its square input")]
    color: Annotated[str, Field(description="gray or rgb")]
    parameters: int
    license: str
    scores: Annotated[dict[str, float], Field(description="measured, fractions of 1")]


class Limits(TypedDict):
    """What one request may hold."""

    max_bytes: int
    max_files: int
    max_pixels: int
    max_video_bytes: int
    detector: Annotated[str, Field(description="used when a request names none")]
