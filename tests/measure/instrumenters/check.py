"""
Runs in an instrumenter's own environment: installs it and the library, asks in all ways, removes one, asks again.

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
from typing import Any, NamedTuple

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


class Answer(NamedTuple):
    """What came. ``tokens``: the output tokens of a response's usage."""

    text: str
    finish: str
    continued: bool
    tokens: int = 0


class Asker:
    """Both clients, and the ways to ask: four of each endpoint."""

    def __init__(self, theirs: Any, what: dict[str, Any]) -> None:
        import openai

        self._theirs = theirs
        self._body: dict[str, Any] = what["body"]
        # None: no responses are asked for.
        self._input: dict[str, Any] | None = what.get("input")
        made = {"api_key": "key", "base_url": what["base_url"], "timeout": 20}
        self._sync = theirs.wrap(openai.OpenAI(**made))
        self._async = theirs.wrap(openai.AsyncOpenAI(**made))
        self._loop = asyncio.new_event_loop()

    def ask(self) -> dict[str, Any]:
        """Return text, finish_reason, tokens, spans and error of each way."""
        ways: dict[str, Callable[[], Answer]] = {
            "sync": self._whole,
            "sync stream": self._stream,
            "async": lambda: self._loop.run_until_complete(self._awhole()),
            "async stream": lambda: self._loop.run_until_complete(self._astream()),
        }
        if self._input is not None:
            ways |= {
                "response": lambda: _response([self._sync.responses.create(**self._input)]),
                "response stream": lambda: _response(list(self._sync.responses.create(**self._input, stream=True))),
                "async response": lambda: self._loop.run_until_complete(self._aresponse()),
                "async response stream": lambda: self._loop.run_until_complete(self._aresponse_stream()),
            }
        return {name: self._asked(way) for name, way in ways.items()}

    def _asked(self, way: Callable[[], Answer]) -> dict[str, Any]:
        self._theirs.take()
        text, finish, continued, tokens, error = "", "", False, 0, ""
        with self._theirs.around():
            try:
                text, finish, continued, tokens = way()
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
                traceback.print_exc()
        return {
            "text": text,
            "finish": finish,
            "continued": continued,
            "tokens": tokens,
            "error": error,
            "spans": self._theirs.take(),
            "said": self._theirs.said,
        }

    def close(self) -> None:
        self._loop.run_until_complete(self._async.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _whole(self) -> Answer:
        return self._read([self._sync.chat.completions.create(**self._body)])

    def _stream(self) -> Answer:
        return self._read(list(self._sync.chat.completions.create(**self._body, stream=True)))

    async def _awhole(self) -> Answer:
        return self._read([await self._async.chat.completions.create(**self._body)])

    async def _astream(self) -> Answer:
        stream = await self._async.chat.completions.create(**self._body, stream=True)
        return self._read([chunk async for chunk in stream])

    def _read(self, pieces: list[Any]) -> Answer:
        text, finish = "", ""
        for piece in pieces:
            for choice in piece.choices:
                said = getattr(choice, "message", None) or choice.delta
                text += said.content or ""
                finish = choice.finish_reason or finish
        return Answer(text, finish, any(hasattr(piece, "continuation") for piece in pieces))

    async def _aresponse(self) -> Answer:
        return _response([await self._async.responses.create(**self._input)])

    async def _aresponse_stream(self) -> Answer:
        stream = await self._async.responses.create(**self._input, stream=True)
        return _response([event async for event in stream])


def _response(pieces: list[Any]) -> Answer:
    """Read a response, or the events of one: the text of its deltas."""
    last = getattr(pieces[-1], "response", pieces[-1])
    deltas = [piece.delta for piece in pieces if piece.__dict__.get("type") == "response.output_text.delta"]
    text = "".join(deltas) if len(pieces) > 1 else last.output_text
    finish = "stop" if last.status == "completed" else "length"
    return Answer(text, finish, hasattr(last, "continuation"), last.usage.output_tokens)


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
