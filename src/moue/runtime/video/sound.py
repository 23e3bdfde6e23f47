"""The sound of a video in another one: its packets are copied where MP4 can hold the codec, else transcoded to AAC."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from itertools import chain, dropwhile, groupby
from typing import Any

from moue.damage import reason
from moue.runtime.video.container import Packets, open_container, sound_stream, video_stream
from moue.runtime.video.decode import Video
from moue.runtime.video.seek import is_seekable

#: Codecs that MP4 holds and that common players play from it.
_MP4_CODECS = frozenset(("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"))
#: Samples in an AAC frame.
_AAC_FRAME = 1024
#: Sample rates of AAC, in Hz.
_AAC_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)

#: A longer gap between two packets, in seconds, comes from damaged timestamps.
MAX_GAP = 3600


class SoundTrack:
    """Writes the first audio stream of ``video`` that can be decoded to ``output`` while its images are written.

    Damaged sound ends with a remark, and never disturbs the images: each packet is first written to a scratch MP4 that
    is thrown away, as one that the muxer refuses, or a header that it cannot write, would cost the whole file.

    Args:
        video: the video to take the sound from; it must have some.
        output: an open PyAV output container to which no packet was written yet.
        on_remark: called with one sentence when the sound ends before its end.
        start: seconds of ``video`` at which the written images begin.
    """

    def __init__(self, video: Video, output: Any, on_remark: Callable[[str], object], start: float = 0) -> None:
        self._output, self._name, self._on_remark = output, video.name, on_remark
        self._stream: Any = None
        self._next: Any = None
        self._written = 0.0
        self._packets: Iterator[Any] = iter(())
        self._open_files = ExitStack()
        with self._damage_ends_it():
            # The audio stream's own edit list counts here: it leaves out the encoder's priming samples.
            source = self._open_files.enter_context(open_container(video.source, edit_list=True))
            # Closing it may fail as its header does.
            scratch = _scratch_container()
            self._open_files.push(lambda *_: _close_quietly(scratch))
            target, packets = _packets(source, scratch, _first_frame_time(video) + Fraction(start))
            # Sound before the first image (an encoder's priming, above all) would delay the images.
            self._packets = (packet for packet in packets if packet.pts >= 0)
            self._scratch, self._target = scratch, target
            self._next = self._take()
            if self._next is not None:
                _check_header(target, self._next)
                self._stream = output.add_stream_from_template(target)

    def write_until(self, timestamp: float) -> None:
        """Write all sound that starts before ``timestamp``, in seconds of the written images."""
        while self._next is not None:
            start = float(self._next.pts * Fraction(self._next.time_base))
            if start >= timestamp:
                return
            self._written = start
            self._next.stream = self._stream
            self._output.mux(self._next)
            self._next = None
            with self._damage_ends_it():
                self._next = self._take()

    def close(self) -> None:
        """Close the file that the sound is read from."""
        with self._damage_ends_it():
            self._open_files.close()

    def _take(self) -> Any | None:
        """The next packet that MP4 can hold; None at the end."""
        packet = next(self._packets, None)
        if packet is not None:
            packet.stream = self._target
            self._scratch.mux(packet)
        return packet

    @contextmanager
    def _damage_ends_it(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Whatever PyAV raises: only the sound is lost.
            self._next = None
            where = f"after {self._written:.1f} s" if self._written else "altogether"
            self._on_remark(f"{self._name}: the sound is damaged and left out {where}: {reason(error)}")


class _Discard:
    """A file object that forgets what is written to it."""

    def write(self, data: bytes) -> int:
        return len(data)


def movflags(fragments: str) -> str:
    """FFmpeg's flags for MP4 whose written part can be played at any time; ``fragments``: when a new one begins."""
    import av

    # FFmpeg 8 turns the fragments into a plain file at the end; older versions leave them.
    hybrid = av.library_versions["libavformat"] >= (62,)
    return fragments + ("+hybrid_fragmented" if hybrid else "+empty_moov+default_base_moof")


def _scratch_container() -> Any:
    import av

    # Each packet is a fragment: an error comes with the packet that causes it.
    return av.open(_Discard(), "w", format="mp4", options={"movflags": movflags("frag_every_frame")})


def _check_header(stream: Any, packet: Any) -> None:
    """Write a whole MP4 of one packet: some of what a header cannot hold is an error at the end alone."""
    import av

    with av.open(io.BytesIO(), "w", format="mp4", options={"movflags": movflags("frag_keyframe")}) as file:
        packet.stream = file.add_stream_from_template(stream)
        file.mux(packet)


def _close_quietly(container: Any) -> None:
    with suppress(Exception):
        container.close()


def _packets(source: Any, scratch: Any, start: Fraction) -> tuple[Any, Iterator[Any]]:
    """A new audio stream of ``scratch`` and the packets for it, their timestamps counted from ``start`` (seconds)."""
    stream = sound_stream(source)
    assert stream is not None
    if start > 1 and is_seekable(source):
        # A second early: the packets before are cut off by their timestamps.
        source.seek(math.floor((start - 1) / Fraction(stream.time_base)), stream=stream)
    if stream.codec_context.codec.canonical_name in _MP4_CODECS:
        return scratch.add_stream_from_template(stream), _copy(Packets(source, stream), start)
    rate = min(_AAC_RATES, key=lambda rate: abs(rate - stream.rate))
    target = scratch.add_stream("aac", rate=rate)
    target.layout = "stereo" if stream.codec_context.layout.nb_channels > 1 else "mono"
    return target, _transcode(Packets(source, stream), target, start)


def _copy(packets: Iterable[Any], start: Fraction) -> Iterator[Any]:
    """The packets with timestamps counted from ``start`` (seconds)."""
    offset: int | None = None
    last_dts: int | None = None
    for packet in packets:
        if packet.dts is None or packet.pts is None:
            continue
        if offset is None:
            offset = round(start / Fraction(packet.time_base))
        if last_dts is not None and packet.dts - offset <= last_dts:
            # Concatenated recordings, as in Video.iter_frames: MP4 takes no timestamp twice.
            offset = packet.dts - last_dts - max(1, packet.duration or 0)
        packet.pts -= offset
        packet.dts -= offset
        if (packet.dts - (last_dts or 0)) * packet.time_base > MAX_GAP:
            # Over gaps of many hours FFmpeg's MP4 muxer may abort the process.
            return
        last_dts = packet.dts
        yield packet


def _transcode(packets: Iterable[Any], target: Any, start: Fraction) -> Iterator[Any]:
    """Packets of the AAC stream ``target``, their timestamps counted from ``start`` (seconds)."""

    def seconds(frame: Any) -> Fraction:
        return (frame.pts or 0) * Fraction(frame.time_base) - start

    frames = dropwhile(lambda frame: seconds(frame) < 0, _decoded(packets))
    first = next(frames, None)
    if first is not None:
        pts = round(seconds(first) * target.rate)
        for frame in _aac_frames(_resampled(chain([first], frames), target)):
            frame.pts, frame.time_base = pts, Fraction(1, target.rate)
            pts += frame.samples
            yield from target.encode(frame)
    yield from target.encode(None)


def _decoded(packets: Iterable[Any]) -> Iterator[Any]:
    import av

    for packet in packets:
        with suppress(av.error.FFmpegError):
            yield from packet.decode()


def _resampled(frames: Iterable[Any], target: Any) -> Iterator[Any]:
    import av

    # Broadcasts change from stereo to mono midway, and a resampler takes sound of one kind.
    for _, group in groupby(frames, lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        resampler = av.AudioResampler(format="fltp", layout=target.layout, rate=target.rate)
        for frame in chain(group, [None]):
            yield from resampler.resample(frame)


def _aac_frames(frames: Iterable[Any]) -> Iterator[Any]:
    """The same samples in frames of the length that AAC takes; only the last one may be shorter."""
    import av

    fifo = av.AudioFifo()
    for frame in frames:
        frame.pts = None
        fifo.write(frame)
        yield from fifo.read_many(_AAC_FRAME)
    yield from fifo.read_many(_AAC_FRAME, partial=True)


def _first_frame_time(video: Video) -> Fraction:
    """When the first frame is shown, in seconds on the clock of the sound.

    Images are read without the edit list and sound with it; a packet that is found both ways tells the difference.
    """
    with open_container(video.source, edit_list=True) as file:
        edited = next((p for p in Packets(file, video_stream(file)) if p.pts is not None), None)
    with open_container(video.source) as file:
        for packet in Packets(file, video_stream(file)):
            if edited is not None and packet.pts is not None and packet.pos == edited.pos:
                shift: Fraction = edited.pts * Fraction(edited.time_base) - packet.pts * Fraction(packet.time_base)
                return video.start_time + shift
    return video.start_time
