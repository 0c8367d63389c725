"""
The emulator: the model behind an OpenAI-compatible HTTP server, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from .checks import requested_tokens, stop_strings
from .exchange import Exchange
from .habits import DEEPINFRA, Habits
from .ledger import Ledger
from .model import Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send
    from typing_extensions import Self

    from .faults import Fault
    from .ledger import Logged
    from .model import Reply, Text

# Those of DeepInfra, vLLM and most others, of DeepInfra's native host, and of Azure.
_ROOTS = ("/v1/openai", "/v1", "", "/openai/deployments/{deployment}", "/openai/v1")
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


class Emulator:
    """
    An OpenAI-compatible server on the loopback interface whose answers are known beforehand.

    A context manager; `start()` and `stop()` do the same. By default it behaves as DeepInfra: it stops answers at `cap`
    tokens, and continues a trailing assistant message.

    The prompt decides on the text: the same prompt, seed and choice are always answered alike, and the words "500
    tokens" in the user's last message ask for that length. With `tools`, the words "call the tool" make the model
    call the first one, and "then call the tool" make it write a text before.

    Args:
        cap: Most output tokens of a response, whatever is asked for.
        context: Most tokens of prompt and answer together.
        tokens: Length of an answer if the prompt names none.
        text: The answer to everything, or a function of body (without prefill) and choice.
        habits: How this server differs from DeepInfra.
        faults: What goes wrong, and when.
        token_delay: Seconds per token.
        chunk_tokens: Tokens per chunk of a stream.
        events_per_write: Most chunks written at once to a stream that has no delay.
        port: 0 for a free one.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of the server, given by name
        self,
        *,
        cap: int = 16_384,
        context: int = 163_840,
        tokens: int = 2_000,
        text: Text | None = None,
        habits: Habits = DEEPINFRA,
        faults: Iterable[Fault] = (),
        token_delay: float = 0.0,
        chunk_tokens: int = 1,
        events_per_write: int = 64,
        port: int = 0,
    ) -> None:
        self.cap = cap
        self.context = context
        self.model = Model(tokens, text, habits)
        self.habits = habits
        self.faults = tuple(faults)
        self.token_delay = token_delay
        self.chunk_tokens = chunk_tokens
        self.events_per_write = events_per_write
        self._port = port
        self.ledger = Ledger(self.faults)
        self._base_url = ""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> Self:
        """Listen, and serve from a daemon thread."""
        if self._thread is not None:
            msg = "The emulator is running already."
            raise RuntimeError(msg)
        # asyncio turns Nagle's delay off only for sockets that name their protocol: 40 ms a response otherwise.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
        except OSError:
            listener.close()
            raise
        self._base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/openai"
        self._server = server = _Server(self, self._application())
        self._thread = threading.Thread(
            target=server.run_on, args=(listener,), name="openai-continue-emulator", daemon=True
        )
        self._thread.start()
        if not server.ready.wait(_START_SECONDS):
            msg = "The emulator did not start."
            raise RuntimeError(msg)
        return self

    def stop(self) -> None:
        """Cut all connections and end the thread; harmless if it is not running."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join(_STOP_SECONDS)
        self._server = self._thread = None

    @property
    def base_url(self) -> str:
        """The address for clients, as `http://127.0.0.1:PORT/v1/openai`."""
        if not self._base_url:
            msg = "The emulator has not been started."
            raise RuntimeError(msg)
        return self._base_url

    @property
    def requests(self) -> list[Logged]:
        """The requests for completions since the start or `clear()`, in order of arrival."""
        return self.ledger.requests

    @property
    def connections(self) -> int:
        """How many TCP connections were ever accepted."""
        return self.ledger.connections

    @property
    def open_connections(self) -> int:
        """How many TCP connections are open."""
        return len(self.ledger.lines)

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return self.ledger.running

    @property
    def derailed(self) -> int:
        """How many prefills were no beginning of a text of this model: each is a mistake of the client."""
        return self.ledger.derailed

    def clear(self) -> None:
        """Forget the requests, and let the faults count from 1 again."""
        self.ledger.clear()

    def uncapped(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """
        Give the content that a server without cap and context limit would answer to a request.

        The request's own token limit and stop strings hold.
        """
        return self._uncapped(body, choice).text("content") or ""

    def uncapped_reasoning(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """Give the reasoning that belongs to `uncapped()`."""
        return self._uncapped(body, choice).text("reasoning") or ""

    def uncapped_arguments(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """Give the arguments of the tool call that belong to `uncapped()`."""
        return self._uncapped(body, choice).text("arguments") or ""

    def tokens_of(self, body: Mapping[str, Any], choice: int = 0) -> int:
        """Count the tokens of the answer that `uncapped()` tells, a thought included, without the end token."""
        reply = self._uncapped(body, choice)
        return sum(len(part.tokens) for part in reply.parts)

    def _uncapped(self, body: Mapping[str, Any], choice: int) -> Reply:
        prompt = self.model.prompt(body)
        turn = self.model.turn(body, prompt, choice)
        return self.model.reply(turn, requested_tokens(body, self.habits), stop_strings(body))

    def _application(self) -> Starlette:
        app = _Completions(self)
        routes: list[Route] = []
        for root in _ROOTS:
            routes += [
                Route(f"{root}/chat/completions", app, methods=["POST"]),
                Route(f"{root}/chat/completions", _list_stored, methods=["GET"]),
                Route(f"{root}/chat/completions/{{id}}", _get_stored, methods=["GET", "POST"]),
                Route(f"{root}/chat/completions/{{id}}", _delete_stored, methods=["DELETE"]),
                Route(f"{root}/chat/completions/{{id}}/messages", _list_stored, methods=["GET"]),
                Route(f"{root}/models", _list_models, methods=["GET"]),
            ]
        return Starlette(routes=routes)


class _Completions:
    """The endpoint of completions, as an ASGI application: it decides itself when and how to break off."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = self._emulator.ledger.line(tuple(scope["client"]))
        if line is not None:
            await Exchange(self._emulator, scope, receive, send, line).answer()


class _Server(uvicorn.Server):
    """
    Uvicorn in a thread, stopping at once.

    Uvicorn itself looks every 0.1 s whether to stop, and then waits for streams to end.
    """

    def __init__(self, emulator: Emulator, app: Starlette) -> None:
        ledger = emulator.ledger

        class Protocol(H11Protocol):
            """Uvicorn's protocol, entering its connections in the ledger."""

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                ledger.opened(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                ledger.closed(self.transport)

        config = uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=60
        )
        super().__init__(config)
        self.ready = threading.Event()
        self._ledger = ledger
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run_on(self, listener: socket.socket) -> None:
        """Serve until `stop()`."""
        asyncio.run(self.serve([listener]))

    def stop(self) -> None:
        """Stop from another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def main_loop(self) -> None:
        """Wait to be stopped."""
        self._loop = asyncio.get_running_loop()
        self.ready.set()
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut all connections, upon which their requests end by themselves."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for line in self._ledger.lines:
            line.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_STOP_SECONDS / 2)


def _list_stored(_: Request) -> JSONResponse:
    return JSONResponse({"object": "list", "data": [], "has_more": False})


def _get_stored(request: Request) -> JSONResponse:
    message = {"role": "assistant", "content": "stored"}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    head = {"id": request.path_params["id"], "object": "chat.completion", "created": 0, "model": "emulated"}
    return JSONResponse({**head, "choices": [choice]})


def _delete_stored(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["id"], "object": "chat.completion.deleted", "deleted": True})


def _list_models(_: Request) -> JSONResponse:
    return JSONResponse(
        {"object": "list", "data": [{"id": "emulated", "object": "model", "created": 0, "owned_by": "you"}]}
    )
