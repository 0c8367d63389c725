"""
Answers that outlive their process: the setting ``journal``.

The responses of a call are recorded while it lasts. The same request, made again after the process has died, gets them
from the file, one after the other, as if the server gave them; then the call goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import to_thread

from .._core.json import Json
from .._core.round import Request
from . import journal_file
from .journal_file import Recorded
from .private_files import ForeignError, check_folder, open_own, remove_own, set_aside
from .replay import body_digest, digest, lasting, response_to, usable

if TYPE_CHECKING:
    from .options import Plan

logger = logging.getLogger("openai_continue")

_T = TypeVar("_T")
# Seconds between two saves while a round streams.
_INTERVAL = 1.0
# Headers of a response that are recorded: what reads it, and what the SDK shows of it.
_HEADERS = ("content-type", "x-request-id")


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
        self._path = self._folder / f"{digest([account, lasting(plan.own_body)])}{journal_file.SUFFIX}"
        self._model = str(plan.body.get("model"))
        # What is to be done with the file, in order.
        self._noted: deque[Callable[[], None]] = deque()
        self._is_urgent = False
        self._saved_at = 0.0
        # One thread at a time works with the file: a stream may be closed by another one than the one that reads it.
        self._working = threading.Lock()
        self._lock: Any = None
        self._writer: journal_file.Writer | None = None
        self._recorded: list[Recorded] = []
        #: How many rounds came from the file.
        self.resumed = 0
        # The number of the round that is being recorded, or None.
        self._recording: int | None = None
        self._is_over = False

    def open(self, client: Any, plan: Plan, http_request: Any) -> bool:
        """
        Take the file and read it; return whether that could be done, and no other call has it.

        ``http_request``: the first one of the call.
        """
        if not self._has_account:
            _warn(
                "the journal is not used: the account of the client shows only when it sends (a workload identity, a "
                "provider of the SDK, or an auth of the HTTP client without user and password)"
            )
            return False
        try:
            with self._working:
                return self._acquire() and self._read(client, plan, http_request)
        except ImportError:
            _warn("the journal needs filelock: pip install 'openai-continue[journal]'")
        except ForeignError as error:
            _warn(f"the journal {self._path.name} is not used: {error}")
        except (OSError, NotImplementedError) as error:
            # NotImplementedError: the file system knows no locks.
            _warn(f"the journal in {self._folder} cannot be used ({type(error).__name__})")
        return False

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
        if body is not None and body_digest(body) != recorded.request:
            self._recorded = self._recorded[: number - 1]
            self._note_writing(lambda writer: writer.keep(recorded.start))
            return None
        self.resumed += 1
        response = response_to(recorded, request)
        # It is given once.
        recorded.data = b""
        return response

    # Recording.

    def begin(self, request: Request, response: Any) -> None:
        """Begin to record the response to a request, unless it came from here."""
        self._recording = None
        if request.number <= self.resumed:
            return
        self._recording = request.number
        headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
        digest, status = body_digest(request.body), response.status_code
        self._note_writing(lambda writer: writer.begin(request.number, digest, status, headers))
        self._saved_at = time.monotonic()

    def add(self, data: bytes) -> None:
        """Record a piece of the response."""
        if self._recording is not None and data:
            self._note_writing(lambda writer: writer.add(data))

    def end(self, tokens: int) -> None:
        """End the round that is recorded. ``tokens``: output tokens of the answer so far."""
        if self._recording is not None:
            self._recording = None
            self._note_writing(lambda writer: writer.end(tokens))
            self._is_urgent = True

    def again(self) -> None:
        """Begin from the beginning: the first request is sent once more."""
        self.resumed, self._recorded, self._is_over = 0, [], False
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

    def _note_writing(self, act: Callable[[journal_file.Writer], None]) -> None:
        self._noted.append(lambda: self._write(act))

    # Work with files.

    @property
    def is_due(self) -> bool:
        """Whether it is time to save: at the end of a round, and each second of one that streams."""
        return self._is_urgent or (bool(self._noted) and time.monotonic() - self._saved_at >= _INTERVAL)

    def save(self) -> None:
        """Do what was noted."""
        with self._working:
            # What is noted from here on may come too late for this time.
            self._is_urgent = False
            while self._noted:
                self._noted.popleft()()
            self._write(journal_file.Writer.flush)
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
        self._lock = lock
        return True

    def _read(self, client: Any, plan: Plan, http_request: Any) -> bool:
        """Read what the file holds, and keep the rounds of it that can be used."""
        try:
            contents = _of_ours(self._path, lambda: _contents(self._path))
        except OSError:
            self._release()
            raise
        recorded = contents.rounds
        used = usable(client, plan, recorded, http_request)
        end = recorded[used].start if used < len(recorded) else contents.end
        self._recorded = recorded[:used]
        self._writer = journal_file.Writer(self._path, self._model, keep=end if used else None)
        return True

    def _write(self, act: Callable[[journal_file.Writer], None]) -> None:
        """Let the writer act; do without it from the first error on."""
        if self._writer is None:
            return
        try:
            act(self._writer)
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            _warn(f"the journal {self._path.name} cannot be written ({why})")
            self._close(drop=True)

    def _close(self, *, drop: bool) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close(drop=drop)

    def _take_up(self) -> None:
        """Take the lock that was let go of, and write the file from its beginning."""
        with contextlib.suppress(OSError, NotImplementedError):
            if self._acquire():
                self._writer = journal_file.Writer(self._path, self._model, keep=None)

    def _remove(self) -> None:
        self._close(drop=True)
        if self._lock is not None:
            remove_own(self._path)
            remove_own(self._path.with_suffix(".lock"))
        self._release()

    def _let_go(self) -> None:
        self._write(journal_file.Writer.flush)
        self._close(drop=False)
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


def _contents(path: Path) -> journal_file.Contents:
    """Return what a file holds, or nothing if there is none."""
    try:
        return journal_file.read(path)
    except FileNotFoundError:
        return journal_file.Contents()


def _of_ours(path: Path, use: Callable[[], _T]) -> _T:
    """Return what ``use`` returns. A file that is damaged or not ours only is set aside first."""
    try:
        return use()
    except (ForeignError, journal_file.UnreadableError) as error:
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
