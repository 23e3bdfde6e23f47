"""One result an input, the same for every kind of input that holds the image."""

from __future__ import annotations

import io
import json
import pickle
import sys
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import skimage.data
from halves import Halves, image, many, one
from numpy.typing import NDArray
from PIL import Image
from videos import make_video, scene

import moue
from moue.errors import UsageError
from moue.runtime.detect import CenterFace, Detections, WholeImage
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces
from moue.runtime.video.decode import open_video
from moue.spec import ModelSpec


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(skimage.data.astronaut()).resize((256, 256), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def reader(model: Path) -> Recognizer:
    return Recognizer(model, threads=1)


def assert_same(a: Faces, b: Faces, atol: float = 1e-4) -> None:
    assert (a.status, a.width, a.height, len(a)) == (b.status, b.width, b.height, len(b))
    np.testing.assert_allclose(a.boxes, b.boxes, atol=0.01)
    np.testing.assert_allclose(a.predictions.probabilities, b.predictions.probabilities, atol=atol)


def test_path_bytes_and_array_give_the_same(reader: Recognizer, photo: NDArray[np.uint8], tmp_path: Path) -> None:
    path = tmp_path / "an astronaut – portrait.png"
    Image.fromarray(photo).save(path)
    first = one(reader.read(path))
    assert (first.status, len(first), first.source) == ("ok", 1, str(path))
    for x in (path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path), photo):
        assert_same(one(reader.read(x)), first)
    assert_same(one(reader.read(photo[..., ::-1], color="bgr")), first)


def test_an_open_file_is_read_from_its_start_wherever_it_is(halves: Recognizer, tmp_path: Path) -> None:
    Image.fromarray(image(0)).save(tmp_path / "a.png")
    film = [Image.fromarray(image(i)) for i in range(3)]
    film[0].save(tmp_path / "a.gif", save_all=True, append_images=film[1:])
    video = make_video(tmp_path / "a.mp4", [scene(i) for i in range(3)])
    for path in (tmp_path / "a.png", tmp_path / "a.gif", video):
        with open(path, "rb") as file:
            results = [halves.read(x) for x in (path, file, file)]
            file.read()
            results.append(halves.read(file))
        assert all(result == results[0] for result in results)
        assert isinstance(results[0], Faces) == (path.suffix == ".png")


def test_both_engines_find_the_same_boxes(model: Path, photo: NDArray[np.uint8]) -> None:
    first, second = (one(Recognizer(model, engine=engine).read(photo)) for engine in ("onnxruntime", "openvino"))
    assert len(first) == 1
    assert_same(first, second, atol=1e-3)


def test_border_around_the_photo_changes_nothing(reader: Recognizer, photo: NDArray[np.uint8]) -> None:
    plain = reader.faces(photo)
    padded = reader.faces(np.pad(photo, ((40, 25), (30, 60), (0, 0)), constant_values=255))
    np.testing.assert_allclose(padded.boxes, plain.boxes + np.array([30, 40, 0, 0]), atol=0.01)
    np.testing.assert_allclose(padded.predictions.probabilities, plain.predictions.probabilities, atol=1e-4)


def test_results_do_not_depend_on_batch_or_order(halves: Recognizer, model: Path) -> None:
    images = [image(i, 60, 100 if i % 3 else 50) for i in range(20)]
    alone = [halves.faces(p) for p in images]
    assert {len(f) for f in alone} == {0, 2}
    for batch in (1, 7, 64):
        other = Recognizer(model, Halves(), threads=1, batch_size=batch)
        for a, b in zip(alone, other.batch(images), strict=True):
            assert_same(a, b)
            assert len(a) or a == b
        for a, b in zip(alone[::-1], other.stream(images[::-1]), strict=True):
            assert_same(a, b)


def test_read_opens_a_model_again_once_its_files_are_others(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec.load(model.with_suffix(".json"))

    def write(folder: str, first: str) -> Path:
        path = tmp_path / folder / "m.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model.read_bytes())
        spec.replace(labels=(first, *spec.labels[1:])).save(path.with_suffix(".json"))
        return path

    def labels(path: Path | str) -> tuple[str, ...]:
        return one(moue.read(image(0), model=path, detector="none")).predictions.labels

    path = write("a", "calm")
    assert labels(path)[0] == "calm"
    write("a", "eager")
    assert labels(path)[0] == "eager"
    write("b", "tired")
    for folder, first in (("a", "eager"), ("b", "tired")):
        monkeypatch.chdir(tmp_path / folder)
        assert labels("m.onnx")[0] == first
    known = moue.runtime.recognizer._cached_recognizer.cache_info().hits
    assert labels("m.onnx")[0] == "tired"
    assert moue.runtime.recognizer._cached_recognizer.cache_info().hits == known + 1


def test_an_empty_path_is_not_the_working_directory(
    halves: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image(0)).save("a.png")
    assert [(r.status, r.reason) for r in many(halves.read(["", "a.png"]))] == [
        ("unreadable", "an empty path"),
        ("ok", None),
    ]
    with pytest.raises(UsageError, match=r"a model must be a name or a path\. Got '' instead"):
        Recognizer("")


def test_names_in_an_array_are_plain_text(halves: Recognizer, tmp_path: Path) -> None:
    Image.fromarray(image(0)).save(tmp_path / "a.png")
    [result] = many(halves.read(np.array([str(tmp_path / "a.png")])))
    assert type(result.source) is str


def test_every_input_has_its_row_in_order(halves: Recognizer, tmp_path: Path) -> None:
    Image.fromarray(image(0)).save(tmp_path / "1.png")
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "3.png").write_bytes((tmp_path / "1.png").read_bytes()[:500])
    (tmp_path / "notes.txt").write_text("hello\n")
    rows = many(halves.read([tmp_path, "gone.png", None, image(1, 1, 1), b"", str(tmp_path / "1.png")]))
    statuses = [(Path(r.source).name, r.status) for r in rows]
    assert statuses == [
        ("1.png", "ok"),
        ("2.jpg", "unreadable"),
        ("3.png", "unreadable"),
        ("notes.txt", "skipped"),
        ("gone.png", "unreadable"),
        ("<NoneType>", "unreadable"),
        ("<ndarray>", "no_face"),
        ("<bytes>", "unreadable"),
        ("1.png", "ok"),
    ]
    assert all((r.reason is None) == (r.status in ("ok", "no_face")) for r in rows)
    json.dumps([r.to_dict() for r in rows], allow_nan=False)


def test_stream_reads_on_demand(halves: Recognizer) -> None:
    read = []

    def endless() -> object:
        while True:
            read.append(1)
            yield image(len(read))

    stream = halves.stream(endless())
    assert next(stream).status == "ok"
    assert len(read) < 40
    stream.close()  # type: ignore[attr-defined]


def test_one_name_is_one_source(halves: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(path)
    for source in (str(path), path, path.read_bytes()):
        assert [result.width for result in halves.stream(source)] == [30]


def test_names_that_no_file_can_have_have_results(halves: Recognizer) -> None:
    assert one(halves.read("\0")).status == "unreadable"
    assert [result.status for result in halves.stream(["\0", "a\0.mp4", "\0/*.jpg"])] == ["unreadable"] * 3
    assert "no connection" in str(one(halves.read("https://127.0.0.1:1/a.mp4")).reason)


def test_single_bad_input_is_a_result_and_a_usage_error_an_exception(halves: Recognizer) -> None:
    result = one(halves.read("gone.png"))
    assert (result.status, result.reason) == ("unreadable", "no such file")
    x: Any
    for x in (None, {}, 1.5):
        with pytest.raises(UsageError, match="Got"):
            halves.read(x)
    with pytest.raises(UsageError, match="one by one"):
        halves.read([image(0)], boxes=[[0, 0, 9, 9]])


def test_lists_globs_and_stacks_are_lists(halves: Recognizer, tmp_path: Path) -> None:
    Image.fromarray(image(0)).save(tmp_path / "1.png")
    for x in (tmp_path, str(tmp_path / "*.png"), [image(0)], np.stack([image(0)]), (p for p in [image(0)])):
        assert [len(f) for f in many(halves.read(x))] == [2]


def test_own_boxes_take_the_place_of_the_detector(halves: Recognizer) -> None:
    result = one(halves.read(image(0), boxes=[[10, 10, 20, 20]]))
    np.testing.assert_array_equal(result.boxes, [[10, 10, 20, 20]])
    assert_same(halves.faces(image(0), boxes=[[10, 10, 20, 20]]), result)
    assert one(halves.read(image(0), boxes=[])).status == "no_face"


def test_faces_are_ordered_from_left_to_right_and_own_boxes_as_given(model: Path) -> None:
    boxes = np.array([[60, 5, 30, 30], [2, 5, 30, 30], [30, 20, 20, 20]], np.float32)

    class Unordered:
        def detect(self, image: NDArray[np.uint8], *, min_score: float = 0.5) -> Detections:
            return Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32))

    given, seen = Recognizer(model, "none"), Recognizer(model, Unordered())
    photo = image(3)
    ordered = one(seen.read(photo))
    assert ordered.boxes[:, 0].tolist() == [2, 30, 60]
    assert ordered.scores.tolist() == pytest.approx([0.8, 0.7, 0.9])
    as_given = one(given.read(photo, boxes=boxes))
    assert as_given.boxes.tolist() == boxes.tolist()
    np.testing.assert_allclose(
        ordered.predictions.probabilities, as_given.predictions.probabilities[[1, 2, 0]], atol=1e-5
    )


def test_detector_none_sees_the_whole_image(model: Path) -> None:
    whole = Recognizer(model, "none", threads=1)
    crop = image(3, 48, 48)
    gray = np.asarray(Image.fromarray(crop).convert("L"))
    np.testing.assert_allclose(
        whole.faces(crop).predictions.probabilities, whole.classify(gray[None, None]).probabilities, atol=1e-6
    )


def test_two_views_agree_with_the_mirror_image(model: Path) -> None:
    both = Recognizer(model, WholeImage(), views=2, threads=1)
    crop = image(4, 48, 48)
    assert_same(both.faces(crop), both.faces(np.ascontiguousarray(crop[:, ::-1])))
    single = Recognizer(model, WholeImage(), views=1, threads=1)
    with pytest.raises(AssertionError):
        assert_same(single.faces(crop), single.faces(np.ascontiguousarray(crop[:, ::-1])))


def test_shared_between_threads(halves: Recognizer) -> None:
    expected = [halves.faces(image(i)) for i in range(8)]
    results: dict[int, Faces] = {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: halves.faces(image(i))})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        assert_same(results[i], expected[i])


def test_what_cannot_be_read_has_the_model_s_labels(halves: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "empty.jpg").touch()
    for name in ("empty.mp4", "empty.jpg", "gone.jpg"):
        [result] = halves.stream(tmp_path / name)
        assert (result.status, result.predictions.labels) == ("unreadable", halves.spec.labels)
        assert result.predictions.class_names == []
        assert len(result.predictions.class_ids) == 0


def test_one_input_need_not_be_put_into_a_list(halves: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(image(0)).save(path)
    with open(path, "rb") as file:
        for x in (file, Image.open(path), image(0), bytearray(path.read_bytes())):
            assert [len(result) for result in halves.stream(x)] == [2]
    assert [len(result) for result in halves.stream(np.array([str(path), str(path)]))] == [2, 2]
    for wrong in (None, 1.5, {"a": 1}, np.array("photo.jpg"), pd.DataFrame({"path": ["photo.jpg"]})):
        with pytest.raises(UsageError, match="Got"):
            list(halves.stream(wrong))
    for wrong in (image(0), None, 7):
        with pytest.raises(UsageError, match="list of images"):
            halves.batch(wrong)  # type: ignore[arg-type]


def test_the_limit_on_pixels_holds_for_video_too(model: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "video.mp4", [scene(i) for i in range(4)])
    small = Recognizer(model, Halves(), threads=1, max_pixels=1000)
    for video in (path, path.read_bytes()):
        (row,) = many(small.read(video))
        assert row.status == "too_large"


def test_a_video_is_read_from_its_bytes_and_from_an_open_file(halves: Recognizer, tmp_path: Path) -> None:
    path = make_video(tmp_path / "video.mp4", [scene(i) for i in range(4)])
    frames = many(halves.read(path, every=2))
    assert [result.frame for result in frames] == [0, 2]
    with open(path, "rb") as file:
        for x in (path.read_bytes(), bytearray(path.read_bytes()), io.BytesIO(path.read_bytes()), file):
            assert [result.replace(source=str(path)) for result in many(halves.read(x, every=2))] == frames


def test_a_video_s_probabilities_are_smoothed_unless_told_otherwise(halves: Recognizer, tmp_path: Path) -> None:
    # One scene: at a cut nothing is smoothed.
    images = [(0.8 * image(0, 64, 96) + 0.2 * image(i, 64, 96)).astype(np.uint8) for i in range(4)]
    path = make_video(tmp_path / "video.mp4", images)
    own = [halves.batch([frame.image])[0].predictions for frame in open_video(path).frames()]
    assert [row.predictions for row in many(halves.read(path, smooth=0))] == own
    assert [row.predictions for row in halves.stream(path, smooth=0)] == own
    smoothed = many(halves.read(path))
    assert smoothed[0].predictions == own[0]
    assert smoothed[1].predictions != own[1]
    with pytest.raises(UsageError, match="smooth must be"):
        halves.read(image(0), smooth=-1)


def test_a_recognizer_goes_to_another_process(model: Path, photo: NDArray[np.uint8]) -> None:
    reader = Recognizer(model, views=1, min_score=0.6, threads=1)
    again = pickle.loads(pickle.dumps(reader))
    assert again.read(photo) == reader.read(photo)
    assert (again.spec.views, again.options.min_score) == (1, 0.6)
    videos = pickle.loads(pickle.dumps(reader.for_video()))
    sizes = [cast(CenterFace, r.detector).long_side for r in (videos, reader.for_video(), reader)]
    assert sizes[0] == sizes[1] != sizes[2]


def test_a_list_on_stdin_is_read_from_its_first_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(tmp_path / f"{i}.png") for i in range(4)]
    for name in names:
        Image.new("RGB", (20, 20)).save(name)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(names)))
    results = many(moue.read("-", model=model, detector="none"))
    assert [result.source for result in results] == names
