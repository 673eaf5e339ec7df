"""Pictures and films, read in the reader's process: if a decoder crashes, the agent continues."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.cameras import Picture
from edge_agent.cameras.ffmpeg import Display, import_av, video_of
from edge_agent.cameras.picture_files import PICTURE_SUFFIXES, pictures_in, read_picture, shown
from edge_agent.config import CameraConfig
from edge_agent.errors import InputError

PICTURE_FPS = 15.0
"""Pictures a second that are assumed when pictures without times are read as fast as possible."""
SLACK_S, SLACK_PART = 0.5, 0.05
"""Seconds by which a film may end before the length in its file: lengths are rounded."""
_NO_TIMESTAMPS = 0x80
"""AVFMT_NOTIMESTAMPS: a bare stream, whose length is a guess."""


class _CutOffError(InputError):
    """The film ended too early."""


def pictures(config: CameraConfig) -> Iterator[Picture]:
    """The pictures of ``camera.source`` with their times; over and over while ``camera.loop`` is true.

    A film that is cut off gives what can be read; then it ends with an error, or with a note and from the start.

    Raises:
        InputError: the source is missing, holds no pictures, cannot be decoded, or is a film that ends too early.
        MissingPackageError: it is a film, and PyAV is not installed.
    """
    path = Path(str(config.source))
    if not path.exists():
        raise InputError(f"replay: {shown(path)} does not exist; camera.source names a picture, a folder or a film")
    ended_s, note, noted = 0.0, "", False
    while True:
        began_s = ended_s
        try:
            for picture in _once(path, config):
                at_s = began_s + (picture.at_s or 0.0)
                ended_s = at_s + picture.lasts_s
                yield replace(picture, at_s=at_s, note=note)
                note = ""
        except _CutOffError as error:
            if not config.loop:
                raise
            note, noted = "" if noted else str(error), True
        if not config.loop:
            return


def _once(path: Path, config: CameraConfig) -> Iterator[Picture]:
    interval_s = 1.0 / (config.fps or PICTURE_FPS)
    if path.is_dir():
        for number, each in enumerate(pictures_in(path)):
            yield Picture(read_picture(each), number * interval_s, interval_s)
    elif path.suffix.lower() in PICTURE_SUFFIXES:
        image = read_picture(path)  # once, even if it is shown many times
        for number in itertools.count() if config.loop else range(1):
            yield Picture(image, number * interval_s, interval_s)
    else:
        yield from _film(path)


def _film(path: Path) -> Iterator[Picture]:
    """Each frame at its own time, counted from the first: a film may begin late, or be cut by an edit list."""
    av = import_av()
    unreadable = f"replay: {shown(path)} is neither a picture nor a film that can be decoded"
    try:
        container = av.open(str(path.resolve()))  # absolute: "10:30:00.mp4" alone reads as a protocol
    except av.error.FFmpegError as error:
        raise InputError(f"{unreadable} ({error.strerror})") from error
    with container:
        if (video := video_of(container)) is None:
            raise InputError(f"{unreadable} (it holds no moving picture)")
        video.thread_type = "AUTO"
        usual_s = float(1 / video.average_rate) if video.average_rate else 1.0 / PICTURE_FPS
        zero_s = at_s = lasts_s = 0.0
        progress, display, frames = _Progress(), Display(video), 0
        for frame in _decoded(container, video, progress):
            time_s = zero_s + at_s + lasts_s if frame.pts is None else float(frame.pts * video.time_base)
            if not frames or time_s - zero_s < at_s:  # the first one, or a clock that was set back, as in joined films
                zero_s = time_s - (at_s + lasts_s)
            at_s = time_s - zero_s
            lasts_s = float(frame.duration * video.time_base) or usual_s
            progress.shown_s, frames = time_s + lasts_s, frames + 1
            yield Picture(display.image(frame), at_s, lasts_s)
        if not frames:
            raise InputError(unreadable)
        if not _is_whole(container, video, progress):
            raise _CutOffError(
                f"replay: {shown(path)} is damaged or cut off: {frames} frames ({at_s + lasts_s:.1f} s) could be read"
            )


class _Progress:
    """How far a film was read, in seconds of the film's clock."""

    shown_s = 0.0
    """End of the last frame."""
    read_s = 0.0
    """End of the last piece of any stream, for example of sound, which may be longer than the picture."""


def _decoded(container: Any, video: Any, progress: _Progress) -> Iterator[Any]:
    """The frames in the order of their times; what is damaged is left out."""
    from av.error import FFmpegError

    with suppress(FFmpegError):  # the file ends in the middle of something, as its length shows
        for packet in container.demux():
            if packet.pts is not None:
                progress.read_s = max(progress.read_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == video.index and packet.size:
                with suppress(FFmpegError):
                    yield from packet.decode()
    with suppress(FFmpegError):
        yield from video.codec_context.decode(None)


def _is_whole(container: Any, video: Any, progress: _Progress) -> bool:
    """Whether the picture, or another stream in the file, lasted as long as the file says."""
    if container.format.flags & _NO_TIMESTAMPS:
        return True
    ends = []
    if video.duration is not None:
        start_s, length_s = float((video.start_time or 0) * video.time_base), float(video.duration * video.time_base)
        if container.format.name == "avi" and video.average_rate:  # for a cut film FFmpeg shortens the duration
            length_s = max(length_s, float(video.frames / video.average_rate))
        ends.append((progress.shown_s, start_s, length_s))
    if container.duration is not None and container.format.name != "avi":
        # Matroska's length counts from zero, even if nothing begins there.
        start_us = 0 if "matroska" in container.format.name else container.start_time or 0
        ends.append((progress.read_s, start_us / 1e6, container.duration / 1e6))
    return not ends or any(
        reached_s >= start_s + length_s - max(SLACK_S, SLACK_PART * length_s) for reached_s, start_s, length_s in ends
    )
