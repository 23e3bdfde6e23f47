"""The sound track of a video, carried over into another one: copied where MP4 can hold it, else made into AAC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

from moue.runtime.video.container import open_container, sound_stream, video_stream
from moue.runtime.video.decode import Video

#: Codecs that MP4 holds and that common players play from it.
_KEPT = frozenset(("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"))

#: The longest silence within a track, in seconds, that is believed.
GAP = 3600


class Sound:
    """Feeds the first sound track that can be read of ``video`` into ``output`` as its images go by.

    Args:
        video: the video to take the sound from; it must have some.
        output: an open PyAV output container to which no packet went yet.
    """

    def __init__(self, video: Video, output: Any) -> None:
        self._output = output
        with ExitStack() as stack:
            # The track's own edit list counts here: it holds back the encoder's priming samples.
            source = stack.enter_context(open_container(video.source, edit_list=True))
            track = sound_stream(source)
            assert track is not None
            self._origin = _origin(video)
            self._copied = track.codec_context.codec.canonical_name in _KEPT
            if self._copied:
                self._target = output.add_stream_from_template(track)
            else:
                self._target = output.add_stream("aac", rate=_aac_rate(track.rate))
                self._target.layout = "stereo" if track.codec_context.layout.nb_channels > 1 else "mono"
            self._packets = self._timed(source, track)
            self._next = next(self._packets, None)
            self._files = stack.pop_all()

    def until(self, timestamp: float | None) -> None:
        """Write all sound that starts before ``timestamp`` (seconds of video); None: the rest."""
        import av

        while self._next is not None and (timestamp is None or self._next[0] < timestamp):
            try:
                self._output.mux(self._next[1])
            except av.error.InvalidDataError:
                # Damaged sound, which MP4 cannot hold: the images go on without it.
                self._next = None
                return
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the file that the sound is read from."""
        self._packets.close()
        self._files.close()

    def _timed(self, source: Any, track: Any) -> Any:
        """(seconds of video, packet) of the output's sound stream."""
        packets = self._copies(source, track) if self._copied else self._encoded(source, track)
        for packet in packets:
            # What sounds before the first image (an encoder's priming, above all) would push the images back.
            if packet.pts >= 0:
                yield float(packet.pts * Fraction(packet.time_base)), packet

    def _copies(self, source: Any, track: Any) -> Iterator[Any]:
        shift = round(self._origin / Fraction(track.time_base))
        last: int | None = None
        for packet in _intact(source, track):
            if packet.dts is None or packet.pts is None:
                continue
            if last is not None and packet.dts - shift <= last:
                # Recordings put one behind the other, as in Video.iter_frames: MP4 takes no time twice.
                shift = packet.dts - last - max(1, packet.duration or 0)
            packet.pts -= shift
            packet.dts -= shift
            if (packet.dts - (last or 0)) * packet.time_base > GAP:
                # A damaged clock: over leaps of many hours FFmpeg's MP4 may abort the process.
                return
            last = packet.dts
            packet.stream = self._target
            yield packet

    def _encoded(self, source: Any, track: Any) -> Iterator[Any]:
        import av

        target = self._target
        resampler: Any = None
        kind: tuple[object, ...] = ()
        samples = av.AudioFifo()
        begin: Fraction | None = None
        made = 0

        def encode(frames: Any, rest: bool = False) -> Iterator[Any]:
            nonlocal made
            for frame in frames:
                frame.pts = None
                samples.write(frame)
            # AAC takes so many at once, and fewer at its end alone.
            while (frame := samples.read(1024, rest)) is not None:
                frame.time_base = Fraction(1, target.rate)
                frame.pts = round((begin or 0) * target.rate) + made
                made += frame.samples
                yield from target.encode(frame)

        for packet in _intact(source, track):
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in decoded:
                time = (frame.pts or 0) * Fraction(frame.time_base) - self._origin
                if begin is None and time < 0:
                    continue
                begin = time if begin is None else begin
                came = (frame.format.name, frame.layout.name, frame.sample_rate)
                if came != kind:
                    # Broadcasts go from stereo to mono on their way, and a resampler takes sound of one kind.
                    if resampler is not None:
                        yield from encode(resampler.resample(None))
                    resampler, kind = av.AudioResampler(format="fltp", layout=target.layout, rate=target.rate), came
                yield from encode(resampler.resample(frame))
        if resampler is not None:
            yield from encode(resampler.resample(None), rest=True)
        yield from target.encode(None)


def _intact(source: Any, track: Any) -> Iterator[Any]:
    """The packets of a track, up to where the file breaks off."""
    import av

    packets = source.demux(track)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError, IndexError):
            # The last of these is PyAV's own, see Decoder.
            return
        if packet is None:
            return
        yield packet


def _origin(video: Video) -> Fraction:
    """When the first image is shown, in seconds of the clock that the sound runs on.

    Images are read without the edit list and sound with it; the packet that comes first with it says how far the two
    clocks are apart.
    """
    with open_container(video.source, edit_list=True) as file:
        shown = next((p for p in _intact(file, video_stream(file)) if p.pts is not None), None)
    with open_container(video.source) as file:
        for packet in _intact(file, video_stream(file)):
            if shown is not None and packet.pts is not None and packet.pos == shown.pos:
                apart: Fraction = shown.pts * Fraction(shown.time_base) - packet.pts * Fraction(packet.time_base)
                return video.start_time + apart
    return video.start_time


def _aac_rate(rate: int) -> int:
    """The nearest rate that AAC knows, from 8,000 to 96,000 samples/s."""
    return min((8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000), key=lambda r: abs(r - rate))
