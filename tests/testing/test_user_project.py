"""The user's project of testing/README.md: recorded from the emulator, and replayed without server and network."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from openai_continue.testing import Emulator

pytest_plugins = ["pytester"]

README = (Path(__file__).resolve().parents[2] / "openai_continue/testing/README.md").read_text(encoding="utf-8")
URL, PROMPT = "https://api.deepinfra.com/v1/openai", "Write the whole handbook."
SECRET = "sk-canary-0123456789"
CASSETTE = Path("cassettes/test_handbook/test_handbook.chat.yaml")
STREAMED = """

@pytest.mark.vcr
async def test_streamed():
    client = openai.AsyncOpenAI()
    stream = await client.chat.completions.create(
        model="m", messages=[{{"role": "user", "content": "{prompt}"}}], stream=True
    )
    assert [chunk.choices[0].finish_reason async for chunk in stream][-1] == "stop"
    await client.close()

@pytest.mark.vcr
def test_response():
    with openai.OpenAI() as client:
        response = client.responses.create(model="m", input="{prompt}")
        *_, last = client.responses.create(model="m", input=[*response.output, {{"role": "user", "content": "On."}}], stream=True)
    assert (response.status, last.response.status) == ("completed", "completed")
"""

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def recorded() -> dict[Path, str]:
    """The files of the project after its first run. Empty before that."""
    return {}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, recorded: dict[Path, str]) -> Run:
    """Record the README's project from an emulator, and stop the emulator. Return a function that runs pytest in the project."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    # The provider table does not know the emulator's host.
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    if not recorded:
        _record(pytester, monkeypatch)
        paths = [path for path in Path().rglob("*test*.*") if path.suffix != ".pyc"]
        recorded.update((path, path.read_text(encoding="utf-8")) for path in paths)
    for path, text in recorded.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(name: str = "") -> Any:
        node = f"test_handbook.py::{name}" if name else "test_handbook.py"
        return pytester.runpytest_subprocess("--block-network", node)

    return run


def _record(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("conftest.py", "test_handbook.py"):
        (code,) = re.findall(rf"```python\n# {name}\n(.*?)```", README, re.DOTALL)
        Path(name).write_text(code, encoding="utf-8")
    with monkeypatch.context() as patch, Emulator(cap=48, tokens=120) as emulator:
        patch.setenv("OPENAI_BASE_URL", emulator.base_url)
        patch.setenv("OPENAI_API_KEY", SECRET)
        test = Path("test_handbook.py")
        test.write_text(test.read_text(encoding="utf-8") + STREAMED.format(prompt=PROMPT), encoding="utf-8")
        pytester.runpytest_subprocess("--record-mode=rewrite").assert_outcomes(passed=3)
    for path in CASSETTE.parent.iterdir():
        changed(path, emulator.base_url, URL)

    counts = {path.name.split(".")[0]: len(cassette(path)["interactions"]) for path in CASSETTE.parent.iterdir()}
    assert counts == {"test_handbook": 3, "test_streamed": 3, "test_response": 6}
    assert emulator.derailed == 0


def cassette(path: Path = CASSETTE) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def failed(result: Any, *reasons: str) -> None:
    """Check that the one test failed, and gave these reasons."""
    result.assert_outcomes(failed=1)
    said = " ".join(result.stdout.str().split())
    assert all(reason in said for reason in reasons), said


@pytest.mark.thorough
def test_replay(project: Run) -> None:
    """The tests pass without server, network and key."""
    project().assert_outcomes(passed=3)


@pytest.mark.thorough
def test_no_secret_is_recorded(project: Run) -> None:
    """Cassettes hold neither the key nor headers that only the server knows."""
    for path in CASSETTE.parent.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in (SECRET, "canary", "authorization", "x-request-id", "stainless"))


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "where"), [("test_handbook", "messages[0].content"), ("test_response", "input")])
def test_prompt_changes(project: Run, name: str, where: str) -> None:
    """The message names the first difference."""
    changed(Path("test_handbook.py"), PROMPT, "Write the whole hand book.")
    result = project(name)

    failed(result, "request 1 of the test", f"{where}, character 20: recorded", "hand book.'")


@pytest.mark.thorough
def test_later_round_changes(project: Run) -> None:
    """An error of a later round would only end the answer early, but a changed request fails the test."""
    changed(Path("test_handbook.py"), "openai_continue.patch()", "openai_continue.patch(settings)")
    changed(
        Path("test_handbook.py"),
        "import pytest\n",
        'import pytest\nsettings = openai_continue.Continuation(round_tokens=48, max_tokens=90, provider="deepinfra")\n',
    )
    changed(
        CASSETTE, "model: deepseek-ai/DeepSeek-V3.2\n", "model: deepseek-ai/DeepSeek-V3.2\n        max_tokens: 48\n"
    )
    result = project("test_handbook")

    failed(result, "request 2 of the test", "max_tokens: recorded 48, sent 42")


@pytest.mark.parametrize(
    ("name", "at"), [("test_handbook", 1), ("test_handbook", 2), ("test_streamed", 2), ("test_response", 5)]
)
@pytest.mark.thorough
def test_round_is_missing(project: Run, name: str, at: int) -> None:
    """The test fails at the request that is missing."""
    path = CASSETTE.with_name(f"{name}.chat.yaml")
    made = cassette(path)
    del made["interactions"][at]
    path.write_text(yaml.safe_dump(made), encoding="utf-8")
    result = project(name)

    failed(
        result,
        f"request {at + 1} of the test",
        f"all {at} recorded requests" if at in (2, 5) else "difference from the closest one",
    )


@pytest.mark.thorough
def test_round_is_not_asked_for(project: Run) -> None:
    """A test that sends fewer requests than were recorded fails too."""
    made = cassette()
    made["interactions"].append(made["interactions"][0])
    CASSETTE.write_text(yaml.safe_dump(made), encoding="utf-8")
    result = project("test_handbook")

    result.assert_outcomes(passed=1, errors=1)
    assert "1 of the 4 requests on the cassette" in result.stdout.str()


@pytest.mark.thorough
def test_cassette_is_absent(project: Run) -> None:
    """The message names the cassette and the command that records it."""
    CASSETTE.unlink()
    result = project("test_handbook")

    failed(result, "There is no cassette", "test_handbook.chat.yaml", "pytest --record-mode=rewrite")


def test_plugin_imports_pytest_alone(pytester: pytest.Pytester) -> None:
    """Every pytest run of the environment imports the plugin, so it imports nothing else."""
    code = "import sys, pytest, openai_continue.testing.plugin; print({'openai', 'vcr', 'yaml', 'wrapt', 'starlette', 'uvicorn'} & set(sys.modules))"

    assert pytester.run(sys.executable, "-c", code).outlines[0] == "set()"
