"""Starting in the midst of a video: decoding begins at a keyframe, and frames keep their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any

from moue.runtime.video.container import Packets, VideoLike, open_container, video_stream

#: Demuxers that find a keyframe by its time, in files that have one clock from their start to their end.
_SEEKABLE = ("mov", "matroska")
#: Codecs with packets that hold no frame to show, so that packets do not tell the number of a frame.
_UNCOUNTABLE = ("vp8",)
#: Seconds before the time that is asked for: an index goes by decoding times, which are earlier than those of showing.
_MARGIN = Fraction(1, 2)
#: So many packets after a keyframe may hold frames that are shown before it.
_MAX_REORDER = 32


@dataclass(frozen=True)
class Keyframe:
    """Where decoding can begin."""

    index: int
    """The frame's number in the video, from 0, in presentation order."""
    pts: int
    """Its presentation timestamp, in ticks. Frames that are decoded later and shown earlier lack what they refer to."""
    dts: int
    """Its decoding timestamp, in ticks: what to seek."""


def is_seekable(container: Any) -> bool:
    """Whether a PyAV input container is of a kind in which seeking is exact."""
    return any(name in container.format.name for name in _SEEKABLE)


def find_keyframe(source: VideoLike, time: Fraction) -> Keyframe | None:
    """The last keyframe about half a second before a time or earlier, found without decoding anything.

    Args:
        source: the video.
        time: in seconds on the clock of its video stream.

    Returns:
        None where the video is to be decoded from its start: its container cannot seek, or it has no such keyframe.
    """
    with open_container(source) as container:
        stream = video_stream(container)
        if not is_seekable(container) or stream.codec_context.name in _UNCOUNTABLE:
            return None
        limit = (time - _MARGIN) / Fraction(stream.time_base)
        number, dts = _last_keyframe(container, stream, limit)
        if number == 0:
            return None
        container.seek(dts, stream=stream)
        packets = list(islice(Packets(container, stream), _MAX_REORDER))
        first = packets[0] if packets else None
        if first is None or first.dts != dts or not first.is_keyframe or first.pts is None or first.pts > limit:
            return None
        shown_before = sum(packet.pts is not None and packet.pts < first.pts for packet in packets)
        return Keyframe(number + shown_before, first.pts, dts)


def _last_keyframe(container: Any, stream: Any, limit: Fraction) -> tuple[int, int]:
    """Of the last keyframe that is decoded by then: how many packets come before it, and its decoding timestamp."""
    # The index of an MP4 has all packets, that of Matroska keyframes alone. Not every PyAV shows it.
    entries = getattr(stream, "index_entries", ())
    if len(entries) and len(entries) == stream.frames:
        decoded = ((entry.timestamp, entry.is_keyframe) for entry in entries)
    else:
        decoded = ((packet.dts, packet.is_keyframe) for packet in Packets(container, stream))
    last = 0, 0
    for number, (dts, is_keyframe) in enumerate(decoded):
        if dts is None or dts > limit:
            break
        if is_keyframe:
            last = number, dts
    return last
