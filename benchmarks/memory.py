"""Whether memory grows while a long video is read: compares the process's memory later with that after 10 s of video.

    python benchmarks/memory.py --minutes 10 --every 15 [--out csv] --json results.json

The video is made first: one face that moves over a 640×480 image, at 30 frames/s.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from skimage.data import astronaut

import moue


def make_video(path: Path, minutes: float) -> None:
    """Write the video."""
    face = np.asarray(Image.fromarray(astronaut()).resize((400, 400)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 640, 480, "yuv420p", Fraction(1, 30)
        for i in range(round(minutes * 60 * 30)):
            image = np.full((480, 640, 3), 90, np.uint8)
            x, y = round(120 + 100 * np.sin(i / 200)), round(40 + 30 * np.cos(i / 130))
            image[y : y + 400, x : x + 400] = face
            image[:20, : i % 640] = 200
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def resident() -> float:
    """Megabytes of this process in memory now."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads /proc, which Linux alone has")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=int, default=15)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument(
        "--out", choices=("json", "jsonl", "csv", "parquet"), help="also write results and an annotated video"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    from moue.runtime.outputs.people import People
    from moue.runtime.outputs.sinks import open_sink
    from moue.runtime.video.stream import stream_video

    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        make_video(video, args.minutes)
        reader = moue.Recognizer(engine=args.engine).for_video()
        memory: list[tuple[float, float]] = []
        rows = faces = 0
        annotated = str(Path(folder) / "annotated.mp4") if args.out else None
        file = open_sink(Path(folder) / "results", args.out, reader.spec.labels) if args.out else None
        people = People()
        for row in stream_video(reader, str(video), every=args.every, annotated=annotated):
            rows, faces = rows + 1, faces + len(row)
            if file is not None:
                file.write(row)
                people.add(row)
            if row.timestamp is not None and row.timestamp >= 10 * (len(memory) + 1):
                memory.append((round(row.timestamp, 1), round(resident(), 1)))
        if file is not None:
            file.close()
            people.summary()
    first, later = memory[0][1], [mb for _, mb in memory[1:]]
    result = {
        "rows": rows,
        "faces": faces,
        "MB after 10 s": first,
        "MB most later": max(later),
        "MB at the end": later[-1],
        "growth": round(max(later) / first - 1, 4),
        "every 10 s": memory,
    }
    print(json.dumps({k: v for k, v in result.items() if k != "every 10 s"}, indent=1))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
