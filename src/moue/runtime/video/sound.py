"""The sound of a video in another one: its packets are copied where MP4 can hold the codec, else transcoded to AAC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from itertools import chain, dropwhile, groupby
from typing import Any

from moue.runtime.video.container import Packets, open_container, sound_stream, video_stream
from moue.runtime.video.decode import Video

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

    Args:
        video: the video to take the sound from; it must have some.
        output: an open PyAV output container to which no packet was written yet.
    """

    def __init__(self, video: Video, output: Any) -> None:
        self._output = output
        with ExitStack() as stack:
            # The audio stream's own edit list counts here: it leaves out the encoder's priming samples.
            source = stack.enter_context(open_container(video.source, edit_list=True))
            stream = sound_stream(source)
            assert stream is not None
            start = _first_frame_time(video)
            if stream.codec_context.codec.canonical_name in _MP4_CODECS:
                packets = _copy(Packets(source, stream), output.add_stream_from_template(stream), start)
            else:
                rate = min(_AAC_RATES, key=lambda rate: abs(rate - stream.rate))
                target = output.add_stream("aac", rate=rate)
                target.layout = "stereo" if stream.codec_context.layout.nb_channels > 1 else "mono"
                packets = _transcode(Packets(source, stream), target, start)
            # Sound before the first image (an encoder's priming, above all) would delay the images.
            self._packets = (packet for packet in packets if packet.pts >= 0)
            self._next = next(self._packets, None)
            self._open_files = stack.pop_all()

    def write_until(self, timestamp: float | None) -> None:
        """Write all sound that starts before ``timestamp`` (seconds of video); None: the rest."""
        import av

        while self._next is not None:
            if timestamp is not None and float(self._next.pts * Fraction(self._next.time_base)) >= timestamp:
                return
            try:
                self._output.mux(self._next)
            except av.error.InvalidDataError:
                # Damaged sound, which MP4 cannot hold: the images go on without it.
                self._next = None
                return
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the file that the sound is read from."""
        self._packets.close()
        self._open_files.close()


def _copy(packets: Iterable[Any], target: Any, start: Fraction) -> Iterator[Any]:
    """The packets for the stream ``target``, their timestamps counted from ``start`` (seconds)."""
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
        packet.stream = target
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
