"""
Answers that outlive their process: the setting ``journal``.

The responses of a call are recorded while it lasts. The same request, made again after the process has died, gets them
from the file, one after the other, as if the server gave them; then the call goes on. Before that the core takes them
once for a trial: what does not lead to a next request is not used.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import journal
from ..core.chunks import chunk_choices
from ..core.jsons import Json, as_object, load
from ..core.round import Failure, Request
from ..core.rounds import Rounds
from ..journal import Recorded
from .errors import is_error_frame
from .response import module_of
from .sse import DONE, KEEP_ALIVES, EventReader

if TYPE_CHECKING:
    from .options import Plan

logger = logging.getLogger("openai_continue")

# Fields of a body that a refusal changes; they do not change what the answer goes on from.
_NEGOTIATED = ("max_tokens", "max_completion_tokens", "stream_options")
# Headers of a response that are recorded: what reads it, and what the SDK shows of it.
_HEADERS = ("content-type", "x-request-id")


class Journal:
    """The journal of one call. Whatever goes wrong with its file, the call goes on without it."""

    def __init__(self, path: Path, lock: Any, model: str, recorded: list[Recorded], keep: int) -> None:
        self._path = path
        self._lock = lock
        self._model = model
        # A stream may be closed by another thread than the one that reads it.
        self._writing = threading.RLock()
        self._recorded = recorded
        self._writer: journal.Writer | None = journal.Writer(path, model, keep=keep)
        #: How many rounds came from the file.
        self.resumed = 0
        # The number of the round that is being recorded, or None.
        self._recording: int | None = None

    @classmethod
    def open(cls, plan: Plan, address: str) -> Journal | None:
        """Return the journal of a call, or None if it has none, or if another call has it."""
        if plan.settings.journal is None:
            return None
        try:
            import filelock
        except ImportError:
            _warn("the journal needs filelock: pip install 'openai-continue[journal]'")
            return None
        folder = Path(plan.settings.journal)
        path = folder / f"{_digest([address, plan.own_body])}{journal.SUFFIX}"
        # It may be released by another thread than the one that takes it.
        lock: Any = filelock.FileLock(path.with_suffix(".lock"), mode=0o600, thread_local=False)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            # NotImplementedError: the file system knows no locks.
            _warn(f"the journal in {folder} cannot be used ({type(error).__name__})")
            return None
        contents = _read(path)
        recorded = contents.rounds
        used = _usable(plan, recorded)
        end = recorded[used].place if used < len(recorded) else contents.length
        return cls(path, lock, str(plan.body.get("model")), recorded[:used], end if used else 0)

    @property
    def has_rounds(self) -> bool:
        """Whether another process has begun the answer."""
        return bool(self._recorded)

    def response(self, number: int, request: Any, body: Json | None = None) -> Any:
        """
        Return the recorded response of a round, or None.

        ``request``: the HTTP request that it answers. ``body``: what would be sent; another one was not answered so.
        """
        if number != self.resumed + 1 or number > len(self._recorded):
            return None
        recorded = self._recorded[number - 1]
        if body is not None and _digest_of(body) != recorded.request:
            self._recorded = self._recorded[: number - 1]
            self._write(lambda writer: writer.keep(recorded.place))
            return None
        self.resumed += 1
        module = module_of(request)
        stream = module.ByteStream(recorded.data)
        return module.Response(recorded.status, headers=recorded.headers, stream=stream, request=request)

    # Recording.

    def begin(self, request: Request, response: Any) -> None:
        """Begin to record the response to a request, unless it came from here."""
        self._recording = None
        if request.number <= self.resumed:
            return
        self._recording = request.number
        headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        digest = _digest_of(request.body)
        self._write(lambda writer: writer.begin(request.number, digest, response.status_code, headers))

    def add(self, data: bytes) -> None:
        """Record a piece of the response."""
        if self._recording is not None and data:
            self._write(lambda writer: writer.add(data))

    def end(self, tokens: int) -> None:
        """End the round that is recorded. ``tokens``: output tokens of the answer so far."""
        if self._recording is not None:
            self._recording = None
            self._write(lambda writer: writer.end(tokens))

    def again(self) -> None:
        """Begin anew: the first request is sent once more."""
        with contextlib.suppress(Exception):
            self._lock.acquire(timeout=0)
            self.resumed, self._recorded = 0, []
            self._writer = journal.Writer(self._path, self._model, keep=0)

    def finish(self) -> None:
        """Remove the file: the answer has ended."""
        self._let_go()
        if self._lock.is_locked:
            for path in (self._path, Path(self._lock.lock_file)):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        self._release()

    def leave(self) -> None:
        """Leave the file as it is: the answer has not ended."""
        with self._writing:
            self._write(journal.Writer.close)
            self._writer = None
        if os.path.exists(self._path):
            self._release()
        else:
            # Nothing came that could be kept; only the lock's file is there.
            self.finish()

    def _let_go(self) -> None:
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close(drop=True)

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            self._lock.release(force=True)

    def _write(self, act: Callable[[journal.Writer], None]) -> None:
        """Let the writer act; do without it from the first error on."""
        with self._writing:
            if self._writer is None:
                return
            try:
                act(self._writer)
            except OSError as error:
                _warn(f"the journal {self._path.name} cannot be written ({type(error).__name__})")
                self._let_go()


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def _digest_of(body: Json) -> str:
    """Return the digest of a round's body, without what a server may have refused in the process before."""
    return _digest({name: value for name, value in body.items() if name not in _NEGOTIATED})


def _read(path: Path) -> journal.Contents:
    """Return what a file holds, or nothing. One that cannot be read is set aside."""
    try:
        return journal.read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        _warn(f"the journal {path.name} cannot be read ({type(error).__name__})")
    except journal.UnreadableError:
        _warn(f"the journal {path.name} is damaged; it is set aside")
        with contextlib.suppress(OSError):
            path.replace(path.with_suffix(journal.BAD))
    return journal.Contents()


def _usable(plan: Plan, recorded: list[Recorded]) -> int:
    """Return how many of the recorded rounds lead to a next request."""
    # What a trial shows is learnt when the rounds are taken.
    rounds, used = replace(plan, learned=replace(plan.learned)).rounds(), 0
    for number, one in enumerate(recorded, start=1):
        request = rounds.next_request()
        if request is None or request.number != number or _digest_of(request.body) != one.request:
            break
        _replay(rounds, request, one)
        if not rounds.goes_on:
            break
        used = number
    return used


def _replay(rounds: Rounds, request: Request, one: Recorded) -> None:
    """Take a recorded round as the loops take a round from the server."""
    if "event-stream" not in one.headers.get("content-type", ""):
        rounds.receive(request, load(one.data))
        return
    done = False
    for event in EventReader().feed(one.data):
        data = event.data
        if data is None or data.strip() in KEEP_ALIVES:
            continue
        done = data.startswith(DONE)
        chunk = None if done else as_object(load(data))
        fails = chunk is not None and bool(chunk.get("error"))
        if not done and (fails or is_error_frame(chunk, first=request.number == 1)):
            # The round has failed, so it is asked for again.
            return
        if chunk is not None and chunk_choices(chunk) is not None:
            rounds.feed(request, chunk)
        if done or rounds.enough:
            break
    if rounds.finished or rounds.enough or (done and rounds.ends_with_stream):
        rounds.end_of_stream(request)
    else:
        rounds.fail(request, Failure("APIConnectionError", broke_off=True))


@lru_cache(maxsize=64)
def _warn(what: str) -> None:
    """Say once what is wrong with the journal."""
    logger.warning("%s; the call goes on without it", what)
