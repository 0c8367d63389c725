"""
What a call with a journal sends with: the caller's HTTP client, but for the first response.

The SDK builds, sends, tries again and reads the first request as ever. Whose it is, and so which file is its own, shows
when it is sent. If another process has begun the answer, what it left comes in place of the server's response.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .._core.json import dump
from .._core.kept import chunks_of, completion_of
from .account import account_of
from .journal import Journal, in_thread
from .journal_file import Kept
from .options import Plan, attach, plan_on
from .response import module_of
from .sse import DONE_EVENT, write_event


class Sender:
    """The HTTP client of a call with a journal."""

    def __init__(self, client: Any) -> None:
        self._owner = client
        self._client = client._client
        self._journal: Journal | None = None
        self._is_open = False

    def __getattr__(self, name: str) -> Any:
        """Return what the HTTP client has under a name."""
        return getattr(self._client, name)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; return the response."""
        plan = plan_on(request)
        if plan is not None and self._journal is None:
            self._open(plan, request)
        begun = self._begun(plan, request, **options)
        return self._client.send(request, **options) if begun is None else begun

    def method(self, wrapped: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method of the SDK's client as that of a copy, which sends with this."""
        client = copy.copy(self._owner)
        client._client = self
        # Other libraries wrap methods by wrapt, too.
        function = getattr(wrapped, "_self_parent", None) or wrapped.__func__  # type: ignore[attr-defined]
        bound: Callable[..., Any] = function.__get__(client, type(client))
        return bound

    @property
    def journal(self) -> Journal | None:
        """The journal, or None before the first request is sent."""
        return self._journal

    def _open(self, plan: Plan, request: Any) -> None:
        self._journal = Journal(plan, account_of(self._owner, request))
        self._is_open = self._journal.open()

    def _begun(self, plan: Plan | None, request: Any, *, stream: bool = False, **_: Any) -> Any:
        """Let a request carry the journal; return what another process has left, as its response, or None."""
        if plan is None or self._journal is None or not self._is_open:
            return None
        attach(request, replace(plan, journal=self._journal))
        if self._journal.kept is None:
            return None
        response = _response(self._journal.kept, plan, request)
        if not stream:
            response.read()
        return response


class AsyncSender(Sender):
    """Async twin of ``Sender``. It works with files in a thread."""

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request; return the response."""
        plan = plan_on(request)
        if plan is not None and self._journal is None:
            await in_thread(lambda: self._open(plan, request))
        begun = self._begun(plan, request, **options)
        return await self._client.send(request, **options) if begun is None else begun


def _response(kept: Kept, plan: Plan, request: Any) -> Any:
    """Return what was kept as the response to a request."""
    module = module_of(request)
    if plan.body.get("stream") or plan.folds:
        kind, chunks = "text/event-stream", chunks_of(kept.answer, kept.state)
        events = map(write_event, plan.endpoint.given(chunks))
        content = b"".join((*events, DONE_EVENT))
    else:
        kind, answer = "application/json", completion_of(kept.answer, kept.state)
        content = dump(plan.endpoint.given_whole(answer))
    headers = {"content-type": kind}
    rounds = kept.state["report"]["rounds"]
    if rounds and rounds[0]["request_id"]:
        headers["x-request-id"] = rounds[0]["request_id"]
    return module.Response(200, headers=headers, stream=module.ByteStream(content), request=request)
