"""What a recognizer can be asked for, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from halves import image, one

import moue
from moue.errors import UnknownName, UsageError
from moue.runtime.detect import CenterFace
from moue.runtime.engine import open_model
from moue.runtime.options import RecognizerOptions
from moue.runtime.recognizer import Recognizer


@pytest.mark.parametrize(
    "options",
    [
        *(
            {"min_score": 2},
            {"uncertain_below": -1},
            {"views": 3},
            {"batch_size": 0},
            {"max_pixels": 0},
            {"video_side": 0},
        ),
        *(
            {"min_score": "high"},
            {"batch_size": 2.5},
            {"threads": "4"},
            {"long_side": "large"},
            {"video_side": "large"},
        ),
        *({"model": 3}, {"detector": 3}),
    ],
)
def test_values_out_of_range(options: dict[str, Any], model: Path) -> None:
    with pytest.raises(UsageError, match=r"must .*Got"):
        Recognizer(**{"model": model, "detector": "none", **options})
    with pytest.raises(UsageError, match=r"must .*Got"):
        moue.read(image(0), **{"model": model, "detector": "none", **options})


@pytest.mark.parametrize("options", [{"every": 0}, {"every": "2"}, {"fps": 0}, {"fps": "2"}, {"every": 2, "fps": 2}])
def test_choices_of_frames_are_checked_for_photos_too(options: dict[str, Any], halves: Recognizer) -> None:
    for x in (image(0), [image(0)]):
        with pytest.raises(UsageError, match=r"every|fps"):
            halves.read(x, **options)


def test_read_makes_its_recognizer_once(model: Path) -> None:
    options: dict[str, Any] = {"model": model, "detector": "none", "threads": 1, "uncertain_below": 1.0}
    result = one(moue.read(image(0), **options))
    assert result.predictions.uncertain.all()
    with pytest.raises(UsageError, match=r"'modle'\. Did you mean model"):
        moue.read(image(0), modle="x")
    with pytest.raises(UsageError, match=r"'evry'\. Did you mean every"):
        moue.read(image(0), evry=2)


def test_a_recognizer_takes_the_options_of_its_dataclass(model: Path) -> None:
    defaults = {name: p.default for name, p in inspect.signature(Recognizer).parameters.items()}
    assert defaults == {field.name: field.default for field in dataclasses.fields(RecognizerOptions)}
    options = RecognizerOptions(model, "none", threads=1, min_score=0.6, views=6, uncertain_below=0.9, batch_size=3)
    reader = Recognizer.from_options(options)
    assert reader.options == options
    assert (reader.spec.views, reader.spec.uncertain_below) == (6, 0.9)
    again = copy.copy(reader)
    assert (again.options, again.spec) == (options, reader.spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.views = 2  # type: ignore[misc]
    with pytest.raises(UnknownName, match="throughput"):
        RecognizerOptions(optimize_for="throughputs")  # type: ignore[arg-type]


def test_a_recognizer_for_videos_searches_smaller_and_averages_two_views_at_most(model: Path) -> None:
    video = Recognizer(model, threads=1, views=10, video_side=128).for_video()
    assert isinstance(video.detector, CenterFace)
    assert (video.detector.long_side, video.spec.views, video.for_video().options) == (128, 10, video.options)
    engine = open_model(model)
    engine.spec = engine.spec.replace(views=6)
    assert Recognizer(engine, "none").for_video().spec.views == 2
    small = Recognizer(model, threads=1, small_faces=True).for_video()
    assert isinstance(small.detector, CenterFace)
    assert small.detector.long_side is None


def test_a_wrong_order_of_channels_is_a_usage_error_in_lists_too(halves: Recognizer) -> None:
    for x in (np.zeros((9, 9, 3), np.uint8), [np.zeros((9, 9, 3), np.uint8)], "absent.png"):
        with pytest.raises(UsageError, match="'rgb' or 'bgr'"):
            halves.read(x, color="BGR")  # type: ignore[arg-type]


def test_boxes_outside_of_the_image_are_usage_errors(halves: Recognizer) -> None:
    assert len(one(halves.read(image(0), boxes=[[-10, -10, 30, 30]]))) == 1
    for box in ([100, 0, 9, 9], [0, 60, 9, 9], [-9, 0, 9, 9], [0, -9, 9, 9]):
        with pytest.raises(UsageError, match=r"outside of the image's 100×60 pixels"):
            halves.read(image(0), boxes=[[0, 0, 9, 9], box])
