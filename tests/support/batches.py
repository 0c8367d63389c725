"""Batch files, and a server that runs them: an ``Engine`` behind each line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from openai_continue._cli import main
from openai_continue.testing.emulator.checks import Refused
from tests.support.answers import Json
from tests.support.engine import Engine

#: Makes another line of the output of the one with this ``custom_id``, or None, so that it is missing.
Change: TypeAlias = Callable[[str, Json], "Json | None"]

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def line(name: str, body: Mapping[str, object], url: str = "") -> Json:
    """Return a line of a batch's input."""
    return {
        "custom_id": name,
        "method": "POST",
        "url": url or (TEXT if "prompt" in body else CHAT),
        "body": dict(body),
    }


def write(path: Path, lines: Iterable[Json]) -> Path:
    """Write a batch file."""
    path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[Json]:
    """Read a batch file."""
    return [json.loads(one) for one in path.read_text(encoding="utf-8").splitlines()]


def answer(name: str, body: object, status: int = 200) -> Json:
    """Return a line of a batch's output."""
    response = {"status_code": status, "request_id": f"request-{name}", "body": body}
    return {"id": f"batch-{name}", "custom_id": name, "response": response, "error": None}


def answered(request: Json, engine: Engine) -> Json:
    """Return the line of the output for one of the input."""
    try:
        return answer(request["custom_id"], engine.completion(request["body"]))
    except Refused as refused:
        return answer(request["custom_id"], refused.body, refused.status)


class Batch:
    """A batch in a folder, which is run until nothing is left to ask. ``engines``: by ``custom_id``."""

    def __init__(self, folder: Path, lines: Sequence[Json], engines: Mapping[str, Engine], *options: str) -> None:
        self.folder = folder
        self.engines = engines
        self.options = options
        self.lines = lines
        #: The files of each batch that was run: the requests, and the answers.
        self.ran: list[tuple[Path, Path]] = []
        self.requests: Path | None = write(folder / "input.jsonl", lines)

    def run(self, change: Change | None = None) -> Path:
        """Run the requests that are there; return the output."""
        assert self.requests is not None
        made = (answered(request, self.engines[request["custom_id"]]) for request in read(self.requests))
        kept = [one if change is None else change(one["custom_id"], one) for one in made]
        output = write(self.folder / f"output{len(self.ran)}.jsonl", [one for one in kept if one is not None])
        self.ran.append((self.requests, output))
        return output

    def next(self) -> int:
        """Write the next requests; return the exit code."""
        requests, output = self.ran[-1]
        path = self.folder / f"next{len(self.ran)}.jsonl"
        code = main(["batch", "next", str(requests), str(output), "-o", str(path), *self.options])
        self.requests = path if path.exists() else None
        assert (code == 0) == path.exists()
        return code

    def join(self) -> tuple[int, list[Json]]:
        """Return the exit code, and the lines of the joined answers."""
        requests, output = self.ran[-1]
        path = self.folder / "joined.jsonl"
        code = main(["batch", "join", str(requests), str(output), "-o", str(path), *self.options])
        return code, read(path) if path.exists() else []

    def finish(self, change: Change | None = None) -> tuple[int, list[Json]]:
        """Run batch after batch, and return what ``join()`` does."""
        while self.requests is not None:
            self.run(change)
            self.next()
        return self.join()
