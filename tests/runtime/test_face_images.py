"""Saved faces: upright, in color, named as their rows, and not one a frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from videos import SquareReader, make_video, scene

import moue
from moue.cli.main import main
from moue.labels import FER2013
from moue.runtime.face import Face
from moue.runtime.outputs.face_images import FaceImages
from moue.runtime.results import Faces, Predictions
from moue.runtime.upright import upright_crop
from moue.runtime.video.stream import stream_video

UPRIGHT = np.array([[30, 40], [50, 40], [40, 50], [32, 60], [48, 60]], np.float32)


def face(box: list[float], landmarks: NDArray[np.float32] | None = None) -> Face:
    return Face(np.array(box, np.float32), 1.0, "happy", 1.0, False, {"happy": 1.0}, landmarks)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_crop_has_the_colors_of_its_image_and_a_margin() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[30:70, 20:60] = (200, 100, 0)
    crop = upright_crop(image, face([20, 30, 40, 40], UPRIGHT))
    assert crop.shape == (56, 56, 3)
    assert crop[28, 28].tolist() == [200, 100, 0]
    assert crop[2, 2].tolist() == [0, 0, 0]
    assert upright_crop(image, face([0, 0, 4000, 4000])).shape == (1024, 1024, 3)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_face_is_upright(turns: int) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    # The forehead is red, the chin is blue.
    image[30:50, 20:60], image[50:70, 20:60] = (255, 0, 0), (0, 0, 255)
    points = UPRIGHT
    for _ in range(turns):
        image = np.ascontiguousarray(np.rot90(image))
        points = np.stack([points[:, 1], 99 - points[:, 0]], axis=1)
    x, y = {0: (20, 30), 1: (30, 40), 2: (40, 30), 3: (30, 20)}[turns]
    crop = upright_crop(image, face([x, y, 40, 40], points.astype(np.float32)))
    assert crop[16, 28].tolist() == [255, 0, 0]
    assert crop[40, 28].tolist() == [0, 0, 255]


def test_a_result_gives_the_crops_of_its_faces() -> None:
    photo = skimage.data.astronaut()
    faces = moue.read(photo)
    assert isinstance(faces, Faces)
    [crop] = faces.crops(photo)
    side = max(faces.boxes[0, 2:])
    assert crop.shape[0] == pytest.approx(1.4 * side, abs=1)
    # Of a smaller version of the image, too.
    [small] = faces.crops(photo[::2, ::2])
    assert small.shape[0] == pytest.approx(0.7 * side, abs=1)


def test_a_person_of_a_video_is_saved_once_a_second(tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", [scene(i, width=320, square=not 20 <= i < 30) for i in range(90)])
    images = FaceImages(tmp_path / "clip.faces")
    for row in stream_video(SquareReader(), video):
        images.add(row, scene(0))
    # The person is away when the second second begins, and comes back under the same number.
    assert names(tmp_path / "clip.faces") == ["000000-1.png", "000030-1.png", "000055-1.png", "000080-1.png"]
    assert len(images.files) == 4


def test_files_of_an_earlier_run_are_replaced_and_others_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a.faces"
    folder.mkdir()
    for name in ("7.png", "000100-3.png", "mine.png"):
        (folder / name).write_bytes(b"x")
    images = FaceImages(folder)
    assert names(folder) == ["mine.png"]
    p = np.full((2, 7), 1 / 7, np.float32)
    boxes = np.array([[0, 0, 10, 10], [20, 0, 10, 10]], np.float32)
    faces = Faces("a.png", "ok", 40, 20, boxes, np.ones(2, np.float32), None, Predictions(p, FER2013.labels))
    images.add(faces, np.zeros((20, 40, 3), np.uint8))
    assert names(folder) == ["1.png", "2.png", "mine.png"]
    # Without a face there is no folder.
    FaceImages(tmp_path / "b.faces").add(Faces("b.png", "no_face"), np.zeros((20, 40, 3), np.uint8))
    assert not (tmp_path / "b.faces").exists()


def test_the_command_saves_faces_beside_the_rows(
    tmp_path: Path, tiny_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(np.full((60, 50, 3), (250, 120, 30), np.uint8)).save(folder / "a.png")
    make_video(folder / "clip.mp4", [scene(i) for i in range(60)])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    command = ["predict", str(folder), "--model", str(tiny_onnx), "--detector", "none", "--out", str(tmp_path / "out")]
    assert main([*command, "--save-faces", "--start", "0.5"]) == 3
    out = tmp_path / "out"
    assert names(out / "a.faces") == ["1.png"]
    with Image.open(out / "a.faces" / "1.png") as crop:
        assert crop.convert("RGB").getpixel((20, 20)) == (250, 120, 30)
    # The names are those of the frames in the rows.
    saved = [path.stem.split("-") for path in sorted((out / "clip.faces").iterdir())]
    rows = {row["frame"]: row for row in json.loads((out / "clip.json").read_text())}
    assert [(int(frame), int(track)) for frame, track in saved] == [(13, 1), (38, 1)]
    for frame, track in saved:
        assert rows[int(frame)]["faces"][0]["track"] == int(track)
    assert not (out / "broken.faces").exists()
    assert capsys.readouterr().err.endswith(
        f"the results are in {out}, with 3 images of faces (of a video one a person and second)\n"
    )
    assert main([*command[:2], "--save-faces"]) == 2
    assert "--out" in capsys.readouterr().err
