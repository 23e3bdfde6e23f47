from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from videos import SquareReader, make_video, scene

from moue.compat import FER, Video
from moue.errors import Unreadable, UsageError
from moue.labels import FER2013
from moue.runtime.detect import CenterFace, Detections, WholeImage
from moue.runtime.recognizer import Recognizer
from moue.runtime.results import Faces, Predictions
from moue.runtime.video.decode import open_video

EMOTIONS = {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"}


def reading(reader: SquareReader, **options: Any) -> FER:
    """FER on a stand-in for the recognizer."""
    return FER(recognizer=cast(Recognizer, reader), **options)


class Corners(SquareReader):
    """Sees a face in every image: fear where its first pixel is red, surprise where it is blue."""

    def faces(self, image: np.ndarray, source: str = "", **_: Any) -> Faces:
        p = np.full((1, 7), 0.05, np.float32)
        p[0, FER2013.index("fear" if image[0, 0, 0] > image[0, 0, 2] else "surprise")] = 0.7
        height, width = image.shape[:2]
        box = np.array([[1.4, 2.6, 30.2, 40.7]], np.float32)
        return Faces(source, "ok", width, height, box, np.ones(1, np.float32), None, Predictions(p, FER2013.labels))


class Passing(SquareReader):
    """Sees two people pass each other, the upper one walking to the right; gives them from left to right."""

    step = 0

    def faces(self, image: np.ndarray, source: str = "", **_: Any) -> Faces:
        x = 5 * self.step
        self.step += 1
        boxes = np.array([[x, 0, 40, 40], [100 - x, 50, 40, 40]], np.float32)
        boxes = boxes[np.argsort(boxes[:, 0])]
        p = np.full((2, 7), 1 / 7, np.float32)
        height, width = image.shape[:2]
        return Faces(source, "ok", width, height, boxes, np.ones(2, np.float32), None, Predictions(p, FER2013.labels))


@pytest.fixture
def detector() -> FER:
    return reading(SquareReader(), mtcnn=True)


def test_faces_come_with_fer_s_keys(detector: FER) -> None:
    (face,) = detector.detect_emotions(scene(0))
    assert face["box"] == (10, 30, 24, 24)
    assert all(type(v) is int for v in face["box"])
    assert set(face["emotions"]) == EMOTIONS
    assert sum(face["emotions"].values()) == pytest.approx(1, abs=1e-3)
    assert detector.top_emotion(scene(0)) == ("happy", pytest.approx(0.88))
    assert detector.find_faces(scene(0)) == [(10, 30, 24, 24)]


def test_several_images_at_once(detector: FER) -> None:
    empty, full = scene(0, square=False), scene(0)
    assert detector.batch_detect_emotions([empty, full]) == [[], detector.detect_emotions(full)]
    assert detector.batch_detect_emotions([]) == []
    with pytest.raises(UsageError, match="takes a list of images"):
        detector.batch_detect_emotions(full)  # type: ignore[arg-type]


def test_boxes_cut_the_image_they_are_of() -> None:
    class Beyond(Corners):
        def faces(self, image: np.ndarray, source: str = "", **more: Any) -> Faces:
            return super().faces(image, source).replace(boxes=np.array([[-5.2, -3.1, 90, 30.5]], np.float32))

    assert reading(Beyond()).find_faces(np.zeros((60, 60, 3), np.uint8)) == [(0, 0, 60, 27)]


@pytest.mark.parametrize("box", [(-10, 50, 10.4, 20), (70, 5, 4, 4), (5, -9, 3, 2), (59.9, 59.9, 0.3, 0.3)])
def test_every_box_has_a_pixel_of_its_image(box: tuple[float, ...]) -> None:
    class Given(Corners):
        def faces(self, image: np.ndarray, source: str = "", **more: Any) -> Faces:
            return super().faces(image, source).replace(boxes=np.array([box], np.float32))

    picture = np.zeros((60, 60, 3), np.uint8)
    [(x, y, w, h)] = reading(Given()).find_faces(picture)
    assert picture[y : y + h, x : x + w].shape[:2] == (h, w)
    assert min(w, h) >= 1


def test_no_face_is_an_empty_list_and_no_top_emotion(detector: FER) -> None:
    assert detector.detect_emotions(scene(0, square=False)) == []
    assert detector.top_emotion(scene(0, square=False)) == (None, None)


def test_arrays_are_bgr_and_files_know_their_own_order(tmp_path: Path) -> None:
    red = np.zeros((60, 60, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(tmp_path / "red.png")
    detector = reading(Corners())
    assert detector.top_emotion(red[:, :, ::-1])[0] == "fear"
    assert detector.top_emotion(red)[0] == "surprise"
    assert detector.top_emotion(str(tmp_path / "red.png"))[0] == "fear"
    assert detector.top_emotion((tmp_path / "red.png").read_bytes())[0] == "fear"
    assert detector.detect_emotions(red)[0]["box"] == (1, 3, 30, 41)


@pytest.mark.parametrize("channels", [3, 4])
def test_faces_of_rgb_arrays_are_sought_in_their_own_colors(channels: int) -> None:
    seen = []

    class Seen(Corners):
        def faces(self, image: np.ndarray, source: str = "", **more: Any) -> Faces:
            seen.append(image)
            return super().faces(image, source)

    image = np.full((60, 60, 4), (250, 120, 10, 255), np.uint8)[:, :, :channels]
    reading(Seen()).find_faces(image, bgr=False)
    assert seen[0][0, 0].tolist() == [250, 120, 10]


def test_small_faces_can_be_left_out_and_other_models_are_refused() -> None:
    assert reading(SquareReader(), min_face_size=30).detect_emotions(scene(0)) == []
    with pytest.raises(UsageError, match="recognizer="):
        FER(emotion_model="model.h5")


def test_what_is_no_image_is_an_error(detector: FER, tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no image")
    for wrong in (None, str(tmp_path / "words.jpg"), str(tmp_path / "missing.jpg")):
        with pytest.raises(Unreadable):
            detector.detect_emotions(wrong)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [scene(i, square=i >= 5) for i in range(20)]
    return make_video(tmp_path_factory.mktemp("videos") / "video.mp4", images)


def test_a_video_gives_a_row_a_frame_with_a_face(clip: Path, detector: FER) -> None:
    rows = Video(str(clip)).analyze(detector, display=False)
    assert len(rows) == 15
    assert set(rows[0]) == {"box0", *(f"{e}0" for e in EMOTIONS)}
    assert rows[0]["happy0"] == pytest.approx(0.88)
    assert len(Video(str(clip)).analyze(detector, frequency=5)) == 3
    assert len(Video(str(clip)).analyze(detector, max_results=4)) == 4
    assert len(Video(str(clip)).analyze(detector, save_fps=5)) == 3


def test_a_video_is_searched_on_the_side_for_video(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int | None] = []

    def detect(self: CenterFace, image: np.ndarray, *, min_score: float = 0.5) -> Detections:
        sides.append(self.long_side)
        return WholeImage().detect(image)

    monkeypatch.setattr(CenterFace, "detect", detect)
    detector = FER(recognizer=Recognizer("tiny", long_side=640, video_side=96, threads=1))
    Video(str(clip)).analyze(detector, frequency=10)
    detector.detect_emotions(scene(0))
    assert sides == [96, 96, 640]


def test_a_video_goes_to_pandas_as_in_fer_s_manual(clip: Path, detector: FER) -> None:
    video = Video(str(clip))
    frame = video.to_pandas(video.analyze(detector, display=False))
    assert len(frame) == 15
    first = video.get_first_face(frame)
    assert set(first.columns) == {"box", *EMOTIONS}
    assert set(video.get_emotions(first).columns) == EMOTIONS
    assert set(Video(str(clip), first_face_only=False).analyze(detector, output="pandas").columns) == {
        "box0",
        *(f"{e}0" for e in EMOTIONS),
    }


def test_the_first_face_of_a_video_stays_the_same_person(clip: Path) -> None:
    video = Video(str(clip))
    first = video.get_first_face(video.to_pandas(video.analyze(reading(Passing()))))
    assert [box[0] for box in first["box"]] == [5 * i for i in range(20)]
    assert {box[1] for box in first["box"]} == {0}


def test_a_video_goes_to_csv(clip: Path, detector: FER, tmp_path: Path) -> None:
    video = Video(str(clip))
    video.to_csv(video.analyze(detector), tmp_path / "data.csv")
    with open(tmp_path / "data.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert float(rows[0]["happy0"]) == pytest.approx(0.88)


def test_a_part_can_be_looked_at_and_the_whole_annotated(clip: Path, detector: FER, tmp_path: Path) -> None:
    part = {"x_min": 5, "x_max": 160, "y_min": 20, "y_max": 96}
    whole = Video(str(clip)).analyze(detector)
    video = Video(str(clip), outdir=str(tmp_path / "out"))
    assert video.analyze(detector, detection_box=part, save_video=True) == whole
    assert len(list(open_video(tmp_path / "out" / "video_output.mp4").frames())) == 20
    with pytest.raises(UsageError, match="no pixel"):
        video.analyze(detector, detection_box={"x_min": 9, "x_max": 9, "y_min": 0, "y_max": 5})


def test_a_video_writes_nothing_unasked(
    clip: Path, detector: FER, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Video(str(clip)).analyze(detector)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="save_video"):
        Video(str(clip)).analyze(detector, save_frames=True)


def test_a_video_that_is_cut_off_gives_what_is_there_with_a_warning(detector: FER, tmp_path: Path) -> None:
    path = make_video(tmp_path / "cut.mp4", [scene(i) for i in range(50)], options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.warns(UserWarning, match="cut off"):
        assert 0 < len(Video(path).analyze(detector)) < 50
