"""
Shared by the checks: ask a framework in each of its ways, and compare the answers with the emulator's own text.

A check is a script that registers its ways and then calls ``report()``. It does not switch the library on:
``OPENAI_CONTINUE=1`` does.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

CAP = 100
TOKENS = 450
#: A model whose syntax of tool calls is known.
CALLS = "Qwen/Qwen3-32B"
#: The length of a call that is not cut.
SHORT = 40
#: Where agents write. It is removed when the check ends.
_FOLDER = tempfile.TemporaryDirectory()
FOLDER = Path(_FOLDER.name)


class Chapter(BaseModel):
    heading: str
    text: str


class Handbook(BaseModel):
    """The schema of the answer, for ways that ask for structured output."""

    title: str
    chapters: list[Chapter]


_CHAPTERS = [Chapter(heading=f"Chapter {number}", text=f"It's {number} — «déjà vu», {{}}. " * 6) for number in range(8)]
HANDBOOK = Handbook(title="Handbook", chapters=_CHAPTERS).model_dump_json(indent=1)


@dataclass
class Seen:
    """What a framework gave its caller. Token counts are None if it does not show them."""

    text: str | None
    completion_tokens: int | None = None
    prompt_tokens: int | None = None


Ask = Callable[[str, str], "Seen | Awaitable[Seen]"]


@dataclass(frozen=True)
class Way:
    """One way to ask a framework."""

    name: str
    #: Takes the server's base URL and a prompt.
    ask: Ask
    #: The model's answer. None: a text of the emulator.
    answer: str | None = None
    #: Whether this process sends the request. ``disabled()`` does not reach other processes.
    in_process: bool = True
    #: How this way opts out of continuation, or None if it does not.
    switch: str | None = None
    #: Why this way is not continued, if that is known. It is measured all the same.
    cannot: str | None = None
    #: The length of the call that an agent's model writes, in tokens.
    call_tokens: int = 3 * CAP


_ways: list[Way] = []
_agents: list[Way] = []


def way(name: str, **how: Any) -> Callable[[Ask], Ask]:
    """Return a decorator that registers a way to ask."""

    def register(ask: Ask) -> Ask:
        _ways.append(Way(name, ask, **how))
        return ask

    return register


def opt_out(name: str, switch: str = "extra_body", **how: Any) -> Callable[[Ask], Ask]:
    """Return a decorator that registers a way to ask that opts out of continuation."""
    return way(name, switch=switch, **how)


def agent_way(name: str, **how: Any) -> Callable[[Ask], Ask]:
    """
    Return a decorator that registers a way to run an agent with the tool ``write_file`` and the model ``CALLS``.

    The model calls the tool, with an argument of three caps if ``call_tokens`` does not say else, and ends with a text
    of several caps, which ``Seen`` has.
    """

    def register(ask: Ask) -> Ask:
        _agents.append(Way(name, ask, **how))
        return ask

    return register


def write_file(path: str, content: str) -> str:
    """
    Write a file.

    Args:
        path: The path of the file.
        content: The text of the file.
    """
    file = FOLDER / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode())
    return "Written."


def report(*packages: str, **others: str) -> None:
    """Ask in all ways. Print the results as one JSON object in the last line, with the versions of the packages."""
    stay_on_loopback()
    results = [*(asked(way) for way in _ways), *(run(way) for way in _agents)]
    versions = {**{package: version(package) for package in (*packages, "openai")}, **others}
    print(flush=True)
    print(json.dumps({"versions": versions, "ways": results}), flush=True)


def asked(way: Way) -> dict[str, Any]:
    """
    Ask in one way.

    Each verdict is True, False, or None if it does not apply. "reason" says why verdicts are False.
    """
    if way.switch is not None:
        return verdicts(way, opt_out=opts_out(way), switch=way.switch)
    result = verdicts(way, **continues(way))
    if way.cannot is not None:
        return {**verdicts(way), "cannot": way.cannot, "reason": "" if result["rounds"] is False else "it can by now"}
    if way.in_process and way.answer is None:
        from openai_continue import disabled

        with disabled():
            problem = opts_out(way)
        result.update(opt_out=not problem, switch="disabled()")
        result["reason"] = "; ".join(filter(None, [result["reason"], problem]))
    return result


def verdicts(way: Way, **problems: str | None) -> dict[str, Any]:
    result: dict[str, Any] = {"way": way.name, "switch": problems.pop("switch", "")}
    result.update(dict.fromkeys(("whole", "rounds", "usage", "opt_out", "file")))
    result.update({what: not problem for what, problem in problems.items() if problem is not None})
    result["reason"] = "; ".join(problem for problem in problems.values() if problem)
    return result


def continues(way: Way) -> dict[str, str | None]:
    """Return for each verdict what is wrong: "" if nothing is, None if the framework does not show it."""
    server, seen, problem = answered(way)
    requests, derailed = server.requests, server.derailed
    if seen is None or not requests or requests[0].status != 200:
        return {"whole": problem or "nothing was answered", "rounds": "no answer"}
    wanted = whole_text(server, requests[0].body)
    whole = "" if seen.text == wanted else differing(seen.text, wanted)
    rounds = "" if len(requests) > 1 and not derailed else f"{len(requests)} requests, {derailed} derailed"
    usage: str | None = None
    for what in ("completion_tokens", "prompt_tokens"):
        shown, paid = getattr(seen, what), sum(getattr(request, what) for request in requests)
        if shown is not None:
            usage = (usage or "") + ("" if shown == paid else f"{what}: {shown}, paid were {paid}; ")
    return {"whole": whole, "rounds": rounds, "usage": usage}


def opts_out(way: Way) -> str:
    """Return what is wrong with an answer that must not be continued; "" if nothing is."""
    server, seen, problem = answered(way)
    requests = server.requests
    if len(requests) != 1:
        return f"opted out, yet {len(requests)} requests were sent; {problem}"
    if requests[0].status != 200:
        # For example, because the server does not know the field that opts out.
        return f"opted out: {problem}"
    wanted = whole_text(server, requests[0].body)
    # A framework may raise an error for a truncated answer, as it does without this library.
    if seen is not None and (seen.text == wanted or not wanted.startswith((seen.text or "").rstrip())):
        return f"opted out: {differing(seen.text, wanted)}"
    return ""


def run(way: Way) -> dict[str, Any]:
    """Run an agent with the library and without it. "without" is what it wrote without it."""
    from openai_continue import disabled

    wrote, problem = ran(way)
    with disabled():
        without, problem_without = ran(way)
    wrong = problem if wrote == WHOLE else "; ".join(filter(None, [wrote, problem]))
    opt_out = "opted out: the same" if (without, problem_without) == (WHOLE, "") else ""
    if way.call_tokens < CAP:
        # Only the text at the end takes several rounds.
        return verdicts(way, whole=wrong, rounds="not whole" if wrong else "", opt_out=opt_out, switch="disabled()")
    result = verdicts(way, file=wrong, opt_out=opt_out, switch="disabled()")
    return {**result, "without": without}


def ran(way: Way) -> tuple[str, str]:
    """Run an agent; return what it wrote, and what is wrong with the rest of the run, or ""."""
    for file in written():
        file.unlink()
    prompt = f"Please call the tool write_file with {way.call_tokens} tokens, for {way.name}."
    server, seen, error = answered(way, prompt)
    bodies = [unlimited(request.body) for request in server.requests]
    if not bodies:
        return "no file", error or "nothing was asked"
    ((_, arguments),) = server.uncapped_calls(bodies[0])
    wrote = compared(json.loads(arguments))
    if wrote != WHOLE or seen is None or server.derailed:
        return wrote, error or (f"{server.derailed} derailed" if server.derailed else "")
    # The second turn begins with the first request that ends in the result of the call.
    second = [body for body in bodies[1:] if messages_of(body)[-1].get("role") != "assistant"]
    if not second:
        return wrote, "the model has not seen the result of its call"
    call = server.uncapped_arguments(second[0])
    # smolagents has a tool for the text at the end.
    text = json.loads(call)["answer"] if call else whole_text(server, second[0])
    return wrote, "" if seen.text == text else differing(seen.text, text)


def messages_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a chat, or the items of a response's input."""
    messages: list[dict[str, Any]] = body["messages"] if "messages" in body else body["input"]
    return messages


WHOLE = "the whole file"


def compared(wanted: dict[str, str]) -> str:
    """Return what agents have written of a file."""
    files = {file.relative_to(FOLDER).as_posix(): file.read_bytes().decode() for file in written()}
    if not files:
        return "no file"
    content = files.pop(wanted["path"], None)
    if files or content is None or not wanted["content"].startswith(content):
        return "another file"
    return WHOLE if content == wanted["content"] else f"{len(content)} of {len(wanted['content'])} characters"


def written() -> list[Path]:
    """Return the files that agents have written."""
    return [path for path in FOLDER.rglob("*") if path.is_file()]


@cache
def emulator(answer: str | None) -> Any:
    """
    Return the server with this answer. It runs until the check ends, so its address stays the same.

    It answers chats as DeepInfra, and ``/responses`` as vLLM: its streams end in ``response.completed`` if they are cut.
    """
    from openai_continue.testing import Emulator, Habits

    return Emulator(cap=CAP, tokens=TOKENS, text=answer, habits=Habits(responses="vllm")).start()


def answered(way: Way, prompt: str | None = None) -> tuple[Any, Seen | None, str]:
    """Return the server that was asked, and the answer or the error."""
    server = emulator(way.answer)
    server.clear()
    try:
        seen = way.ask(server.base_url, prompt or f"Write about {way.name}.")
        return server, (asyncio.run(awaited(seen)) if inspect.isawaitable(seen) else seen), ""
    except Exception as error:
        traceback.print_exc()
        return server, None, f"{type(error).__name__}: {error}"[:300]


async def awaited(seen: Awaitable[Seen]) -> Seen:
    return await asyncio.wait_for(seen, 60)


def whole_text(server: Any, body: dict[str, Any]) -> str:
    """Return the text that an uncapped server answers to a request without limits of its own."""
    text: str = server.uncapped(unlimited(body))
    return text


def unlimited(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request without limits of its own."""
    return {name: body[name] for name in body if name not in LIMITS}


LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def differing(seen: str | None, wanted: str) -> str:
    if seen is None:
        return "no text"
    pairs = zip(seen, wanted, strict=False)
    at = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(seen), len(wanted)))
    return f"{len(seen)} characters for {len(wanted)}, differing at {at}: {seen[at : at + 20]!r}"


def stay_on_loopback() -> None:
    """Refuse all connections of this process that leave loopback."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple) and not is_loopback(arguments[1][0]):
            msg = f"a check stays on loopback; asked for {arguments[1]}"
            raise ConnectionRefusedError(msg)
        if event == "socket.getaddrinfo" and not is_loopback(arguments[0]):
            msg = f"a check stays on loopback; asked for {arguments[0]}"
            raise ConnectionRefusedError(msg)

    sys.addaudithook(refuse)


def is_loopback(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name is None or name in ("localhost", "::1") or str(name).startswith("127.")
