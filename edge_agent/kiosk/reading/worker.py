"""The child process that decodes and reads visitors' pictures, so that no picture can harm the agent.

It has a memory limit, a low priority, and a time limit after which it is killed and replaced. It starts with the first
picture, and ends when there was none for a while. Both ends send frames: four bytes of length, then the bytes. What is
asked, ``{"name": ..., "why": ...}``, and the picture go in, JSON comes out:
``{"prediction": ...}`` or ``{"refused": [code, detail]}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from edge_agent.config import Config
from edge_agent.errors import CountenanceError, InputError
from edge_agent.host.children import environment, python
from edge_agent.kiosk.reading.refusal import RefusalError

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0
"""Seconds for one picture, with the start of the process; a Raspberry Pi 4 needs about 3 s for the start."""
IDLE_S = 120.0
MEMORY_MB = 448
"""Data that a picture may allocate once OpenCV and the model are there: the largest one is 192 MB, and OpenCV 4.14 has
it twice while it decodes. With these and the agent it stays below the 700 MB of the service."""
_LENGTH = struct.Struct("!I")


class Worker:
    """At most one reading process, used for one picture at a time."""

    def __init__(self, config: Config, timeout_s: float = TIMEOUT_S, memory_mb: int = MEMORY_MB) -> None:
        self._config = config
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Id of the running process; None while there is none."""
        return self._process.pid if self._process else None

    async def read(self, data: bytes, name: str, *, why: bool = False) -> dict[str, Any]:
        """The answer about one picture, as ``edge-agent predict --json`` gives it, and its reasons if ``why``.

        Raises:
            RefusalError: timeout, picture or unexpected.
        """
        async with self._turn:
            return await self._read(data, json.dumps({"name": name, "why": why}))

    async def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _read(self, data: bytes, question: str) -> dict[str, Any]:
        answered = False
        try:
            answer = await asyncio.wait_for(self._ask(data, question), self._timeout_s)
            answered = True
        except asyncio.TimeoutError:
            raise RefusalError("timeout") from None
        except (asyncio.IncompleteReadError, OSError):
            log.warning("the picture reader died; it starts again with the next picture")
            raise RefusalError("picture", "reading it ended the reader: too large for its memory, or damaged") from None
        finally:
            # Also when the request was cancelled: a late answer would be taken for that of the next picture.
            if not answered:
                await self.stop()
        self._end_when_idle()
        if "refused" in answer:
            raise RefusalError(*answer["refused"])
        prediction: dict[str, Any] = answer["prediction"]
        return prediction

    async def _ask(self, data: bytes, question: str) -> dict[str, Any]:
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        for part in question.encode(), data:
            process.stdin.write(_LENGTH.pack(len(part)) + part)
        await process.stdin.drain()
        (length,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
        answer: dict[str, Any] = json.loads(await process.stdout.readexactly(length))
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        process = self._process = await asyncio.create_subprocess_exec(
            *python("edge_agent.kiosk.reading.worker", str(self._memory_mb)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
        )
        assert process.stdin is not None
        config = self._config.model_dump_json(include={"detector", "model", "log"}).encode()
        process.stdin.write(_LENGTH.pack(len(config)) + config)
        return process

    def _end_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()

        def end() -> None:
            if self._process is not None and self._process.stdin is not None and not self._turn.locked():
                self._process.stdin.close()
                self._process = None

        self._idle = asyncio.get_running_loop().call_later(IDLE_S, end)


def main() -> None:
    """The child: read pictures from standard input until it ends."""
    pictures, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not print into the answers
    _step_back()
    config = Config.model_validate_json(_receive(pictures) or b"{}")
    reader: Any = None
    answer: dict[str, Any]
    while (question := _receive(pictures)) is not None and (data := _receive(pictures)) is not None:
        try:
            if reader is None:
                reader = _load(config)
                _limit_memory(int(sys.argv[1]))
            answer = {"prediction": _predict(reader, data, **json.loads(question))}
        except InputError as error:
            answer = {"refused": ["picture", str(error)]}
        except MemoryError:
            answer = {"refused": ["picture", "too large for the reader's memory"]}
        except CountenanceError as error:
            print(f"picture reader: {error}", file=sys.stderr)  # noqa: T201
            answer = {"refused": ["unexpected", ""]}
        body = json.dumps(answer).encode()
        answers.write(_LENGTH.pack(len(body)) + body)
        answers.flush()


def _step_back() -> None:
    import resource

    # A lower priority than the agent, and the first to be ended if memory runs out anyway. A system call filter may
    # forbid either; the memory limits work in any case.
    with suppress(OSError):
        os.nice(10)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would have somebody's picture in it


def _limit_memory(more_mb: int) -> None:
    """What is already used depends on the machine: libraries reserve memory for each core."""
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    limit = pages * resource.getpagesize() + (more_mb << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _load(config: Config) -> Any:
    from edge_agent.vision.reading import Reader

    return Reader(config)


def _predict(reader: Any, data: bytes, name: str, *, why: bool) -> dict[str, Any]:
    from edge_agent.cameras.picture_files import decode_picture

    answer: dict[str, Any] = reader.read(decode_picture(data, name), name, why=why).as_dict()
    return answer


def _receive(source: IO[bytes]) -> bytes | None:
    """One frame; None at the end of the input."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = source.read(length)
    return body if len(body) == length else None


if __name__ == "__main__":
    main()
