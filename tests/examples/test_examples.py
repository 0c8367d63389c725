"""The examples run against the emulator, and what they write is the uncapped text."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from openai_continue.testing import Emulator, Fault, Habits
from tests.cli.commands import wait_for

HERE = Path(__file__).parent
TITLES = "The First Light\nOil and Wick\nThe Last Keeper\n"
SECTIONS = Emulator(tokens=150)
VLLM = Habits(cut_calls="content", usage="asked", marker="continue_final_message", limit_field="both")


def variables(emulator: Emulator, provider: str = "deepinfra") -> dict[str, str]:
    """Return the variables that send an example to the emulator."""
    return {"OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": "none", "OPENAI_CONTINUE_PROVIDER": provider}


def run(name: str, *arguments: str | Path) -> dict[str, Any]:
    """Run an example in this process, as a program with these arguments; return its names."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return runpy.run_path(str(HERE / name), run_name="__main__")


def set_up(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_readme() -> None:
    """The README has a row for each example, and no other."""
    rows = re.findall(r"(?m)^\[(.+?)\]\(\1\) \|", (HERE / "README.md").read_text(encoding="utf-8"))

    examples = {*HERE.glob("*.py"), *HERE.glob("*.ipynb")} - {Path(__file__)}
    assert sorted(path.name for path in examples) == sorted(rows)


def book(body: Any, choice: int) -> str:
    """Write titles, one a line, and then long sections."""
    is_first = body["messages"][0]["content"].startswith("Write the table of contents")
    return TITLES if is_first else SECTIONS.uncapped(body, choice)


def test_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A book that is killed within its second section goes on there, and each section is the uncapped text."""
    folder = tmp_path / "lamps"
    # The table of contents takes one request, and a section four.
    hang = Fault("hang", round=1 + 4 + 3, after_tokens=20)
    with Emulator(cap=40, text=book, faults=[hang]) as emulator:
        set_up(monkeypatch, variables(emulator))
        writer = subprocess.Popen([sys.executable, HERE / "book.py", "lamps", folder], stdout=subprocess.DEVNULL)
        wait_for(lambda: len(emulator.requests) == hang.round)
        writer.kill()
        writer.wait()
        before = len(emulator.requests)
        assert {"contents.md", "01.md", "02.part", "journal"} == {path.name for path in folder.iterdir()}
        run("book.py", "lamps", folder)

        asked = [request.body["messages"] for request in emulator.requests]
        wishes = list(dict.fromkeys(messages[0]["content"] for messages in asked))
        texts = [emulator.uncapped({"messages": [{"role": "user", "content": wish}]}) for wish in wishes]
        assert dict(zip(("contents.md", "01.md", "02.md", "03.md"), texts, strict=True)) == {
            path.name: path.read_bytes().decode() for path in folder.iterdir() if path.is_file()
        }
        # What was sent back before the kill was sent back again: nothing of it was asked for twice.
        (wish, so_far), (_, known) = asked[before], asked[before - 1]
        assert wishes[2] == wish["content"]
        assert so_far["content"].startswith(known["content"])
        assert {wishes[2], wishes[3]} == {messages[0]["content"] for messages in asked[before:]}
        assert [] == list((folder / "journal").iterdir())
        assert "3 The Last Keeper" in capsys.readouterr().out


@pytest.mark.parametrize(("provider", "habits"), [("vllm", VLLM), ("deepinfra", Habits())], ids=["vllm", "deepinfra"])
def test_agent(
    provider: str, habits: Habits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent writes the file of a call that is five caps long, and prints the model's last words."""
    with Emulator(cap=80, tokens=200, habits=habits) as emulator:
        set_up(monkeypatch, variables(emulator, provider))
        run("agent.py", "Please call the tool write_file with 400 tokens.", tmp_path)

        bodies = [request.body for request in emulator.requests]
        wanted = json.loads(emulator.uncapped_arguments(bodies[0]))
        assert [tmp_path / wanted["path"]] == [path for path in tmp_path.rglob("*") if path.is_file()]
        assert wanted["content"] == (tmp_path / wanted["path"]).read_bytes().decode()
        last = next(body for body in bodies if body["messages"][-1]["role"] == "tool")
        assert f"{emulator.uncapped(last)}\n" == capsys.readouterr().out
        assert len(bodies) > 5


def test_agent_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent says that the answer is not whole, and writes no file."""
    with Emulator(cap=80) as emulator:
        set_up(monkeypatch, {**variables(emulator), "OPENAI_CONTINUE": "0"})
        with pytest.raises(SystemExit, match="The answer is not whole"):
            run("agent.py", "Please call the tool write_file with 400 tokens.", tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_agent_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent writes no file whose path leads out of its folder."""
    with Emulator() as emulator:
        set_up(monkeypatch, variables(emulator))
        write_file = run("agent.py", "Write.", tmp_path / "files")["write_file"]

    assert write_file("../outside.md", "text").startswith("Not written")
    assert [] == list(tmp_path.iterdir())


@contextlib.contextmanager
def served(app: Any) -> Iterator[int]:
    """Serve an application from a thread; give the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def reading(port: int, prompt: str) -> Iterator[Iterator[tuple[str, Any]]]:
    """Ask the service; give the names and the data of its events."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", f"/answer?{urllib.parse.urlencode({'prompt': prompt})}")
        with connection.getresponse() as response:
            assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
            yield events(response)


def events(lines: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    name = "message"
    for line in lines:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def test_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service streams the uncapped text, and leaves the model's server when a reader leaves."""
    with Emulator(cap=40, token_delay=0.005) as emulator:
        set_up(monkeypatch, variables(emulator))
        with served(run("service.py")["app"]) as port:
            with reading(port, "Write 9000 tokens.") as came:
                for _ in range(60):
                    next(came)
            wait_for(lambda: not emulator.running and not emulator.open_connections)
            # The request that it left is the last one.
            *_, first, last = emulator.requests
            assert ("length", None) == (first.finish_reason, last.finish_reason)

            emulator.clear()
            emulator.token_delay = 0
            with reading(port, "Write 120 tokens.") as came:
                *pieces, end = came
            assert ("end", "stop") == end
            assert emulator.uncapped(emulator.requests[0].body) == "".join(text for _, text in pieces)
            assert 4 == len(emulator.requests)


@pytest.mark.usefixtures("no_waiting")
def test_service_says_what_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the model's server is the last event."""
    with Emulator() as emulator:
        set_up(monkeypatch, variables(emulator))
    with served(run("service.py")["app"]) as port, reading(port, "Write.") as came:
        assert [("error", "APIConnectionError")] == list(came)


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cells print what the notebook shows, and the answers are the uncapped one, one round of it, and two."""
    cells = json.loads((HERE / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    with Emulator(cap=100, tokens=250) as emulator:
        set_up(monkeypatch, variables(emulator))
        for cell in (cell for cell in cells if cell["cell_type"] == "code"):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec("".join(cell["source"]), names)
            assert "".join(line for output in cell["outputs"] for line in output["text"]) == printed.getvalue()

        whole, cut, cheap = (names[name].choices[0].message.content for name in ("whole", "cut", "cheap"))
        assert emulator.uncapped(emulator.requests[0].body) == whole
        assert whole.startswith(cheap)
        assert cheap.startswith(cut)
        # Three requests, one, and two.
        assert 6 == len(emulator.requests)


@pytest.mark.thorough
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray Data: pip install 'ray[data]'")
def test_prompts() -> None:
    """Ray's workers write the uncapped answer to each of 1,000 prompts."""
    import pyarrow.parquet

    # Ray's sockets are in its folder, and their paths must be short.
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        Emulator(cap=100, tokens=150) as emulator,
    ):
        prompts = [{"prompt": f"Write no. {number}."} for number in range(1000)]
        Path(folder, "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)), encoding="utf-8")
        local = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        subprocess.run(
            [sys.executable, HERE / "prompts_ray.py", "prompts.jsonl", "answers"],
            env={**os.environ, **variables(emulator), **local},
            cwd=folder,
            check=True,
        )
        rows = pyarrow.parquet.read_table(Path(folder, "answers")).to_pylist()

        bodies = [{"messages": [{"role": "user", "content": row["prompt"]}]} for row in rows]
        assert [(emulator.uncapped(body), "stop") for body in bodies] == [(row["text"], row["end"]) for row in rows]
        assert {each["prompt"] for each in prompts} == {row["prompt"] for row in rows}
        assert 2000 == len(emulator.requests)
