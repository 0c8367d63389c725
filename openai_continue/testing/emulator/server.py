"""
The emulator: an OpenAI-compatible HTTP server in a thread of its own.
"""

from __future__ import annotations

import asyncio
import math
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .chatml import source
from .checks import requested_tokens, stop_strings
from .exchange import Exchange
from .faults import Fault
from .habits import DEEPINFRA, Habits
from .ledger import Ledger, Logged
from .model import Model, Reply, TextSource
from .response_requests import as_chat, response_habits
from .template import rendered
from .text_prompts import raw_prompt, text_prompts

if TYPE_CHECKING:
    from typing_extensions import Self

# The paths of DeepInfra, of vLLM and most others, of DeepInfra's native host, and of Azure.
_ROOTS = ("/v1/openai", "/v1", "", "/openai/deployments/{deployment}", "/openai/v1")
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_PORTS = 65_536


class Emulator:
    """
    An OpenAI-compatible server on the loopback interface whose answers are known in advance.

    Use it as a context manager, or call ``start()`` and ``stop()``. By default it behaves like DeepInfra: it cuts an
    answer after ``cap`` tokens, and it continues a trailing assistant message.

    The prompt decides the text: the same prompt, seed and choice always get the same answer. The words "500 tokens" in
    the user's last message ask for an answer of that length. With ``tools``, the words "call the tool" make the model
    call the first tool, and "then call the tool" make it write a text first. The words "call the tool write_file twice
    with 3000 tokens" make it call this tool and the next one, each with a string of that length.

    Args:
        cap: The most output tokens of a response, whatever the request asks for.
        context: The most tokens of prompt and answer together.
        tokens: The length of an answer if the prompt names none, in tokens.
        text: The answer to every request, or a function that returns it. The function gets the body of the request
            without its prefill, and the index of the choice.
        habits: How the server differs from DeepInfra.
        faults: The failures that it shows. If several fit a request, it meets the first one.
        token_delay: Seconds per token.
        chunk_tokens: Tokens per chunk of a stream.
        events_per_write: The most chunks that are written at once to a stream without delay.
        port: The TCP port, or 0 for a free one.

    Raises ``ValueError`` if a number is out of its range.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of the server, given by name
        self,
        *,
        cap: int = 16_384,
        context: int = 163_840,
        tokens: int = 2_000,
        text: TextSource | None = None,
        habits: Habits = DEEPINFRA,
        faults: Iterable[Fault] = (),
        token_delay: float = 0.0,
        chunk_tokens: int = 1,
        events_per_write: int = 64,
        port: int = 0,
    ) -> None:
        counts = {"cap": cap, "context": context, "tokens": tokens, "chunk_tokens": chunk_tokens}
        for name, number in {**counts, "events_per_write": events_per_write}.items():
            _check(name, number, range(1, sys.maxsize), "a whole number from 1")
        _check("port", port, range(_PORTS), f"a whole number from 0 to {_PORTS - 1:,}")
        if not 0 <= token_delay < math.inf:
            msg = f"token_delay: got {token_delay!r}, accepted is a number from 0"
            raise ValueError(msg)
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
        """
        Listen, and serve from a daemon thread.

        Raises ``RuntimeError`` if the emulator is running, and ``OSError`` if the port is in use.
        """
        if self._thread is not None:
            msg = "The emulator is running already. Call stop() first."
            raise RuntimeError(msg)
        # asyncio switches off Nagle's delay only for sockets that name their protocol. It costs 40 ms a response.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
        except OSError:
            listener.close()
            raise
        self._base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/openai"
        self._server = server = _Server(self.ledger, self._application())
        self._thread = threading.Thread(
            target=server.run_on, args=(listener,), name="openai-continue-emulator", daemon=True
        )
        self._thread.start()
        if not server.ready.wait(_START_SECONDS):
            msg = f"The emulator did not start within {_START_SECONDS:.0f} seconds."
            raise RuntimeError(msg)
        return self

    def stop(self) -> None:
        """Cut all connections and end the thread. Does nothing if the emulator is not running."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join(_STOP_SECONDS)
        self._server = self._thread = None

    @property
    def base_url(self) -> str:
        """
        The address for clients: ``http://127.0.0.1:PORT/v1/openai``.

        Raises ``RuntimeError`` before the first ``start()``.
        """
        if not self._base_url:
            msg = "The emulator has not been started. Call start() or use it in a with statement."
            raise RuntimeError(msg)
        return self._base_url

    @property
    def requests(self) -> list[Logged]:
        """The requests for completions since the start or ``clear()``, in order of arrival."""
        return self.ledger.requests

    @property
    def connections(self) -> int:
        """The number of TCP connections that were ever accepted."""
        return self.ledger.connections

    @property
    def open_connections(self) -> int:
        """The number of TCP connections that are open."""
        return len(self.ledger.lines)

    @property
    def running(self) -> int:
        """The number of requests that are being answered."""
        return self.ledger.running

    @property
    def derailed(self) -> int:
        """The number of prefills that no text of this model begins with. Each is a mistake of the client."""
        return self.ledger.derailed

    def clear(self) -> None:
        """Forget the requests, and count the requests for faults from 1 again."""
        self.ledger.clear()

    def uncapped(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """
        Return the content that a server without cap and context limit would answer to a request. A body with a
        ``prompt`` is one for a text completion, and one with an ``input`` is one for a response.

        The token limit and the stop strings of the request itself apply. Raises ``Refused`` if the server would refuse
        the request. It works without ``start()``.
        """
        return self._uncapped(body, choice).text("content") or ""

    def uncapped_reasoning(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """Return the reasoning that goes with ``uncapped()``."""
        return self._uncapped(body, choice).text("reasoning") or ""

    def uncapped_arguments(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """Return the arguments of the first tool call that goes with ``uncapped()``, or "" if there is none."""
        return next((arguments for _, arguments in self.uncapped_calls(body, choice)), "")

    def uncapped_calls(self, body: Mapping[str, Any], choice: int = 0) -> list[tuple[str, str]]:
        """Return the name and the arguments of each tool call that goes with ``uncapped()``. Arguments are JSON."""
        reply = self._uncapped(body, choice)
        end = reply.turn.written + len(reply.text("calls") or "")
        return [(call.name, call.known(end)) for call in reply.turn.calls.calls if call.named <= end]

    def uncapped_raw(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """Return the text of ``uncapped()`` and the calls after it in the syntax of the model, without thoughts."""
        reply = self._uncapped(body, choice)
        return (reply.text("content") or "") + (reply.text("calls") or "")

    def tokens_of(self, body: Mapping[str, Any], choice: int = 0) -> int:
        """Return the number of tokens of the answer of ``uncapped()``, with its thoughts, without the end token."""
        reply = self._uncapped(body, choice)
        return sum(len(part.tokens) for part in reply.parts)

    def raw(self, body: Mapping[str, Any], choice: int = 0) -> str:
        """
        Return all that the model writes to answer a request: thoughts, tags, calls in its own syntax.

        It is what ``uncapped({"prompt": prompt_of(body)})`` returns, but the limits of the request are not looked at.
        """
        turn = self.model.turn(self._chat(body)[0], raw_prompt(self.prompt_of(body), self.habits), choice)
        return "".join(segment.text for segment in turn.segments)

    def prompt_of(self, body: Mapping[str, Any]) -> str:
        """Return the prompt that the chat template makes of a request. Raises ``Refused``."""
        return rendered(*self._chat(body)).text

    @property
    def chat_template(self) -> str:
        """
        The chat template of the model, a text for Jinja. It renders what ``prompt_of()`` returns.

        It is written to a file as it is, as ``chat_template.jinja``. Like those on the Hub, it reads ``messages``,
        ``tools``, ``add_generation_prompt``, the words of ``chat_template_kwargs``, and the filter ``tojson`` of
        ``transformers``, which escapes and sorts nothing. The arguments of calls are objects, as vLLM gives them.
        """
        return source(self.habits)

    def _chat(self, body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Habits]:
        """Return the chat request that is made of a request, and the habits of its endpoint."""
        if "input" not in body:
            return body, self.habits
        return as_chat(body, self.habits, self.ledger.stored), response_habits(self.habits)

    def _uncapped(self, request: Mapping[str, Any], choice: int) -> Reply:
        body, habits = self._chat(request)
        if "prompt" in body:
            prompts = text_prompts(body, self.model, self.ledger.texts)
            self.ledger.began_texts(prompts)
            at, choice = divmod(choice, body.get("n") or 1)
            prompt = prompts[at]
        else:
            prompt = rendered(body, habits)
        turn = self.model.turn(body, prompt, choice)
        return self.model.reply(body, turn, requested_tokens(body, habits), stop_strings(body))

    def _application(self) -> Starlette:
        app = _Completions(self)
        routes: list[Route] = []
        for root in _ROOTS:
            routes += [
                Route(f"{root}/chat/completions", app, methods=["POST"]),
                Route(f"{root}/completions", app, methods=["POST"]),
                Route(f"{root}/responses", app, methods=["POST"]),
                Route(f"{root}/chat/completions", _list_stored, methods=["GET"]),
                Route(f"{root}/chat/completions/{{id}}", _get_stored, methods=["GET", "POST"]),
                Route(f"{root}/chat/completions/{{id}}", _delete_stored, methods=["DELETE"]),
                Route(f"{root}/chat/completions/{{id}}/messages", _list_stored, methods=["GET"]),
                Route(f"{root}/models", _list_models, methods=["GET"]),
            ]
        return Starlette(routes=routes)


class _Completions:
    """The endpoints of completions and responses. It is a bare ASGI application because it has to break off answers."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = self._emulator.ledger.line(tuple(scope["client"]))
        if line is not None:
            await Exchange(self._emulator, scope, receive, send, line).answer()


class _Server(uvicorn.Server):
    """
    Uvicorn in a thread, which stops at once.

    Uvicorn itself checks every 0.1 seconds whether to stop, and then waits for streams to end.
    """

    def __init__(self, ledger: Ledger, app: Starlette) -> None:
        class Protocol(H11Protocol):
            """Uvicorn's protocol, which tells the ledger about its connections."""

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
        """Serve until ``stop()``."""
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
        """Cut all connections. Their requests then end by themselves."""
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


def _check(name: str, number: int, accepted: range, words: str) -> None:
    if isinstance(number, bool) or number not in accepted:
        msg = f"{name}: got {number!r}, accepted is {words}"
        raise ValueError(msg)
