"""
Runs in an instrumenter's own environment: installs it and the library, asks in four ways, removes one, asks again.

    python check.py NAME before|after|alone unpatch|uninstall|nothing < what.json

Prints one line of JSON. ``before``: the instrumenter is installed before the library.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

LOCAL = ("127.0.0.1", "::1", "localhost")


def only_loopback() -> None:
    """Refuse connections to other machines, so that no exporter sends data to its vendor."""

    def guarded(name: str) -> Any:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
                raise OSError(f"a check wants to connect to {address[0]}")
            return original(self, address)

        return connect

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (None, *LOCAL):
            raise OSError(f"a check wants to know the address of {host}")
        return resolved(host, *args, **kwargs)

    resolved = socket.getaddrinfo
    socket.getaddrinfo = resolve
    for name in ("connect", "connect_ex"):
        setattr(socket.socket, name, guarded(name))


class Asker:
    """Both clients, and the four ways to ask."""

    def __init__(self, theirs: Any, what: dict[str, Any]) -> None:
        import openai

        self._theirs = theirs
        self._body: dict[str, Any] = what["body"]
        made = {"api_key": "key", "base_url": what["base_url"], "timeout": 20}
        self._sync = theirs.wrap(openai.OpenAI(**made))
        self._async = theirs.wrap(openai.AsyncOpenAI(**made))
        self._loop = asyncio.new_event_loop()

    def ask(self) -> dict[str, Any]:
        """Return text, finish_reason, spans and error of each way."""
        ways: dict[str, Callable[[], tuple[str, str, bool]]] = {
            "sync": self._whole,
            "sync stream": self._stream,
            "async": lambda: self._loop.run_until_complete(self._awhole()),
            "async stream": lambda: self._loop.run_until_complete(self._astream()),
        }
        return {name: self._asked(way) for name, way in ways.items()}

    def _asked(self, way: Callable[[], tuple[str, str, bool]]) -> dict[str, Any]:
        self._theirs.take()
        text, finish, continued, error = "", "", False, ""
        with self._theirs.around():
            try:
                text, finish, continued = way()
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
                traceback.print_exc()
        return {
            "text": text,
            "finish": finish,
            "continued": continued,
            "error": error,
            "spans": self._theirs.take(),
        }

    def close(self) -> None:
        self._loop.run_until_complete(self._async.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _whole(self) -> tuple[str, str, bool]:
        return self._read([self._sync.chat.completions.create(**self._body)])

    def _stream(self) -> tuple[str, str, bool]:
        return self._read(list(self._sync.chat.completions.create(**self._body, stream=True)))

    async def _awhole(self) -> tuple[str, str, bool]:
        return self._read([await self._async.chat.completions.create(**self._body)])

    async def _astream(self) -> tuple[str, str, bool]:
        stream = await self._async.chat.completions.create(**self._body, stream=True)
        return self._read([chunk async for chunk in stream])

    def _read(self, pieces: list[Any]) -> tuple[str, str, bool]:
        text, finish = "", ""
        for piece in pieces:
            for choice in piece.choices:
                said = getattr(choice, "message", None) or choice.delta
                text += said.content or ""
                finish = choice.finish_reason or finish
        return text, finish, any(hasattr(piece, "continuation") for piece in pieces)


def main() -> None:
    name, order, then = sys.argv[1:]
    what = json.load(sys.stdin)
    only_loopback()
    from adapters import named

    import openai_continue

    theirs = named(name)

    def patch() -> None:
        if order == "alone":
            return
        openai_continue.patch(openai_continue.Continuation(provider="deepinfra"))

    if order == "after":
        patch()
    theirs.install()
    # Some instrumenters change a client when it is made, not the SDK.
    asker = None if order == "after" else Asker(theirs, what)
    if order == "before":
        patch()
    asker = asker or Asker(theirs, what)
    said: dict[str, Any] = {"both": asker.ask()}
    if then == "unpatch":
        openai_continue.unpatch()
        said["then"] = asker.ask()
    elif then == "uninstall" and theirs.can_uninstall:
        theirs.uninstall()
        said["then"] = asker.ask()
        # A process whose patch was undone by another library calls patch() again.
        patch()
        said["again"] = asker.ask()
    asker.close()
    import openai

    said["openai"] = openai.__version__
    said["can_uninstall"] = theirs.can_uninstall
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
