"""
Answers that outlive their process: the setting ``journal``.

The answer is kept while its call lasts. The same request, made again after the process has died, takes what was kept
for its first round, and goes on.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import to_thread

from .._core.chunks import choices_of, delta_of, index_of
from .._core.codec.endpoint import Endpoint
from .._core.folding import Folded
from .._core.json import Json, as_object, load
from .._core.kept import completion_of
from .._tables.request_scoped import is_scoped_field
from . import journal_file
from .journal_file import Kept, UnreadableError
from .private_files import ForeignError, check_folder, open_own, remove_own, set_aside
from .sse import EventReader

if TYPE_CHECKING:
    from .options import Plan

logger = logging.getLogger("openai_continue")

_T = TypeVar("_T")
# Seconds between two saves while a round streams.
_INTERVAL = 1.0


class Journal:
    """
    The journal of one call. Whatever goes wrong with its file, the call goes on without it.

    ``open()`` and ``save()`` work with files. The other methods only note what is to be done with them, so that an
    event loop may call them.
    """

    def __init__(self, plan: Plan, account: list[Any] | None) -> None:
        """``account``: what tells it from others, for the digest in the file's name; None: that is not known."""
        self._has_account = account is not None
        self._folder = Path(plan.settings.journal or "")
        self._path = self._folder / f"{_digest([account, _lasting(plan.own_body)])}{journal_file.SUFFIX}"
        self._plan = plan
        # What is to be done, in order: bytes and states to take, and the end.
        self._noted: deque[bytes | tuple[Json, Json | None] | Callable[[], None]] = deque()
        self._is_urgent = False
        self._saved_at = 0.0
        # One thread at a time works with the file: a stream may be closed by another one than the one that reads it.
        self._working = threading.Lock()
        self._lock: Any = None
        self._writes = False
        self._given = _Given(plan.endpoint)
        # The newest state, and the whole answer at that time; None: the answer is a stream.
        self._state: tuple[Json, Json | None] | None = None
        self._is_over = False
        #: What another process has left, or None.
        self.kept: Kept | None = None

    def open(self) -> bool:
        """Take the file and read it; return whether that could be done, and no other call has it."""
        if not self._has_account:
            _warn(
                "the journal is not used: the account of the client shows only when it sends (a workload identity, a "
                "provider of the SDK, or an auth of the HTTP client without user and password)"
            )
            return False
        try:
            with self._working:
                return self._acquire() and self._read()
        except ImportError:
            _warn("the journal needs filelock: pip install 'openai-continue[journal]'")
        except ForeignError as error:
            _warn(f"the journal {self._path.name} is not used: {error}")
        except (OSError, NotImplementedError) as error:
            # NotImplementedError: the file system knows no locks.
            _warn(f"the journal in {self._folder} cannot be used ({type(error).__name__})")
        return False

    # What is to be kept.

    def give(self, data: bytes) -> None:
        """Keep bytes of a stream that the caller gets."""
        if data:
            self._noted.append(data)

    def keep(self, state: Json, answer: Json | None = None) -> None:
        """Keep the state of the core, and a whole answer as it is then; of a stream, what was given until then."""
        self._noted.append((state, answer))
        # Of a round that has just begun there is nothing yet.
        self._is_urgent = self._is_urgent or state["open"] is None

    def again(self) -> None:
        """Begin from the beginning: the first request is sent once more."""
        self.kept, self._is_over = None, False
        self._noted.append(self._take_up)

    def finish(self) -> None:
        """Remove the file: the answer has ended."""
        self._end_with(self._remove)

    def leave(self) -> None:
        """Leave the file as it is: the answer has not ended."""
        self._end_with(self._let_go)

    def _end_with(self, act: Callable[[], None]) -> None:
        if not self._is_over:
            self._is_over = True
            self._noted.append(act)
            # Last: another thread that saves meanwhile clears it, and then does what is noted.
            self._is_urgent = True

    # Work with files.

    @property
    def is_due(self) -> bool:
        """Whether it is time to save: at the end of a round, and each second of one that streams."""
        return self._is_urgent or (bool(self._noted) and time.monotonic() - self._saved_at >= _INTERVAL)

    def save(self) -> None:
        """Do what was noted."""
        with self._working:
            # What is noted from here on may come too late for this time.
            sync, self._is_urgent = self._is_urgent, False
            while self._noted:
                noted = self._noted.popleft()
                if isinstance(noted, bytes):
                    self._given.waiting.append(noted)
                elif isinstance(noted, tuple):
                    self._given.take_all()
                    self._given.chunks.clear()
                    self._state = noted
                else:
                    noted()
            self._write(sync=sync)
            self._saved_at = time.monotonic()

    def _acquire(self) -> bool:
        """Take the lock; return whether no other call has it."""
        import filelock

        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            check_folder(self._folder)
        except ForeignError as error:
            msg = f"the folder {self._folder} {error}"
            raise ForeignError(msg) from None
        path = self._path.with_suffix(".lock")
        # The lock opens its file by itself, and empties it.
        _of_ours(path, lambda: os.close(open_own(path, os.O_RDWR | os.O_CREAT)))
        # It may be released by another thread than the one that takes it.
        lock: Any = filelock.FileLock(path, mode=0o600, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        self._lock, self._writes = lock, True
        return True

    def _read(self) -> bool:
        """Read what the file holds, if this request can go on from it."""
        try:
            self.kept = _of_ours(self._path, lambda: _usable(self._path, self._plan))
        except OSError:
            self._release()
            raise
        return True

    def _write(self, *, sync: bool) -> None:
        """Write the newest state and the answer; do without the file from the first error on."""
        if not self._writes or self._state is None:
            return
        state, answer = self._state
        if state["open"] is not None:
            self._given.take_all()
            state["open"]["chunks"] = dict(self._given.chunks)
        answer = self._given.completion() if answer is None else answer
        calls = any(item["message"].get(name) for item in answer["choices"] for name in ("tool_calls", "function_call"))
        if not answer["choices"] or (state["open"] is not None and calls and not state["open"]["may_call"]):
            # There is nothing yet, or a call that cannot go on where it breaks off.
            return
        model = str(self._plan.body.get("model"))
        try:
            journal_file.write(self._path, Kept(model, state["number"], state["tokens"], answer, state), sync=sync)
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            _warn(f"the journal {self._path.name} cannot be written ({why})")
            self._writes = False

    def _take_up(self) -> None:
        """Take the lock that was let go of, and forget what was kept."""
        self._given, self._state = _Given(self._plan.endpoint), None
        with contextlib.suppress(OSError, NotImplementedError):
            self._acquire()

    def _remove(self) -> None:
        self._writes = False
        if self._lock is not None:
            for suffix in (journal_file.SUFFIX, journal_file.NEW, ".lock"):
                remove_own(self._path.with_suffix(suffix))
        self._release()

    def _let_go(self) -> None:
        self._write(sync=True)
        self._writes = False
        if os.path.lexists(self._path):
            self._release()
        else:
            # Nothing came that could be kept; only the lock's file is there.
            self._remove()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                lock.release(force=True)


class _Given:
    """What the caller was given of a stream, as the completion that it makes so far."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        #: Bytes of which nobody knows yet whether the answer may break off in them.
        self.waiting: list[bytes] = []
        self._events = EventReader()
        self._folded = Folded()
        #: By choice: the chunks of the running round that brought something.
        self.chunks: Counter[str] = Counter()

    def take_all(self) -> None:
        """Take the bytes that wait."""
        data, self.waiting = b"".join(self.waiting), []
        for event in self._events.feed(data):
            chunk = as_object(load(event.data or b""))
            if chunk is not None and self._endpoint.reads(chunk):
                chunk = self._endpoint.taken(chunk)
                self._folded.take(chunk)
                self.chunks.update(str(index_of(item)) for item in choices_of(chunk) or () if _brings(item))

    def completion(self) -> Json:
        """Return the completion."""
        return self._folded.completion()


def _brings(item: Json) -> bool:
    """Whether the choice of a chunk has anything for its message."""
    return any(value for name, value in delta_of({"choices": [item]}).items() if name != "role")


def _usable(path: Path, plan: Plan) -> Kept | None:
    """Return what a file holds, or None if there is nothing that this request can go on from."""
    try:
        kept = journal_file.read(path)
    except FileNotFoundError:
        return None
    if kept is None:
        return None
    # What it shows is learnt when the call goes on.
    rounds = replace(plan, learned=replace(plan.learned)).rounds(kept.state)
    try:
        request, answer = rounds.next_request(), completion_of(kept.answer, kept.state)
        if request is not None:
            rounds.receive(request, plan.endpoint.given_whole(answer))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        msg = "is no journal"
        raise UnreadableError(msg) from error
    return kept if rounds.goes_on else None


def _digest(value: object) -> str:
    """Return the digest of a value, in hexadecimal digits."""
    return sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()


def _lasting(body: Json) -> Json:
    """Return a body without the names of one HTTP request, which the next try of the same request may change."""
    return {name: value for name, value in body.items() if not is_scoped_field(name)}


def save(journal: Journal | None) -> None:
    """Save what is due."""
    if journal is not None and journal.is_due:
        journal.save()


async def asave(journal: Journal | None) -> None:
    """Async twin of ``save``. It works with files in a thread."""
    if journal is not None and journal.is_due:
        await in_thread(journal.save)


async def in_thread(work: Callable[[], None]) -> None:
    """Do ``work`` in a thread, once and to its end: a task that is cancelled must let go of files, too."""
    once, cancelled = _Once(work), None
    with anyio.CancelScope(shield=True):
        while not once.is_done:
            try:
                await to_thread.run_sync(once)
            except anyio.get_cancelled_exc_class() as error:  # noqa: PERF203
                # asyncio's own cancel() passes the shield, perhaps before the thread has begun.
                cancelled = error
    if cancelled is not None:
        raise cancelled


class _Once:
    """Work that is done once, by the first thread that comes; the others wait for its end."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._working = threading.Lock()
        #: Whether the work came to its end.
        self.is_done = False

    def __call__(self) -> None:
        with self._working:
            if not self.is_done:
                try:
                    self._work()
                finally:
                    self.is_done = True


def _of_ours(path: Path, use: Callable[[], _T]) -> _T:
    """Return what ``use`` returns. A file that is damaged or not ours only is set aside first."""
    try:
        return use()
    except (ForeignError, UnreadableError) as error:
        try:
            set_aside(path, journal_file.BAD)
        except OSError:
            msg = f"it {error}, and cannot be set aside"
            raise ForeignError(msg) from None
        _warn(f"the journal {path.name} {error}; it is set aside")
        return use()


@lru_cache(maxsize=64)
def _warn(what: str) -> None:
    """Say once what is wrong with the journal."""
    logger.warning("%s; the call goes on without it", what)
