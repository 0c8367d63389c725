"""What the README and the reference show is so: their code, commands, tables and links."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

import openai_continue
from openai_continue import Continuation, OpenAI, SettingsError
from openai_continue._cli import main
from openai_continue._core.state import NATURAL_ENDS
from openai_continue.testing import Emulator, Fault, Habits
from tests.support.asking import text_of
from tests.support.batches import Batch, line, read
from tests.support.bodies import ask
from tests.support.engine import Engine
from tests.support.ways import DEEPINFRA

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[1]
README, REFERENCE = ROOT / "README.md", ROOT / "openai_continue/README.md"
OF_TESTS, OF_TESTING = ROOT / "tests/README.md", ROOT / "openai_continue/testing/README.md"
OF_EXAMPLES = ROOT / "tests/examples/README.md"
TEXT, DETAILS = README.read_text(encoding="utf-8"), REFERENCE.read_text(encoding="utf-8")
HANDBOOK: dict[str, Any] = {
    "model": "deepseek-ai/DeepSeek-V3.2",
    "messages": [{"role": "user", "content": "Write the whole handbook."}],
}


def section(title: str, text: str = TEXT) -> str:
    """Return what stands under a heading."""
    (found,) = re.findall(rf"(?ms)^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text)
    return str(found)


def blocks(language: str, text: str = TEXT) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def spans(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)


# The links.


def slugs(path: Path) -> set[str]:
    """Return the anchors of a file's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path", [README, REFERENCE, OF_TESTS, OF_TESTING, OF_EXAMPLES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links(path: Path) -> None:
    """The files and headings that are linked are there. The sdist has all files but those of real engines."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        assert not anchor or anchor in slugs(file), target


def test_contents_of_the_reference() -> None:
    """The list at the beginning of the reference names each of its sections, in order."""
    linked = re.findall(r"\(#([\w-]+)\)", DETAILS.partition("\n## ")[0])
    headings = re.findall(r"(?m)^## (.+)$", DETAILS)

    assert [heading.lower().replace(" ", "-") for heading in headings] == linked


# The code.


@pytest.mark.parametrize("line", ["openai_continue.patch()  # the one new line\n", ""], ids=["with", "without"])
def test_first_example(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The example prints what it says, with its one line and without it."""
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    code = blocks("python")[0].replace("openai_continue.patch()  # the one new line\n", line)
    said, without = re.findall(r"# (\w+) \(without the library: (\w+)\)", code)[0]
    with Emulator(cap=48, tokens=120) as emulator:
        names: dict[str, Any] = {}
        exec(code.replace("https://api.deepinfra.com/v1/openai", emulator.base_url), names)
        names["client"].close()

    assert (said if line else without) + "\n" == capsys.readouterr().out


def test_further_examples(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples of a cap on the cost, of a report and of a named server run, one after the other."""
    _, cap, report, server, _ = blocks("python")
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    with Emulator(cap=48, tokens=120) as emulator:
        with OpenAI(base_url=emulator.base_url, api_key="key") as client:
            names: dict[str, Any] = {
                "openai_continue": openai_continue,
                "completion": client.chat.completions.create(**HANDBOOK),
            }
        exec(report, names)
        exec(server, names)
        names["client"].close()
        exec(cap, names)

    assert capsys.readouterr().out == "stop 3 None\n"


def test_example_of_a_test(pytester: pytest.Pytester) -> None:
    """The test that the README shows passes in a project that has nothing else."""
    pytester.makepyfile(test_handbook=blocks("python")[-1])

    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n0").assert_outcomes(passed=1)


def test_code_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of the reference run."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    names: dict[str, Any] = {"openai_continue": openai_continue}

    for block in blocks("python", DETAILS):
        exec(block, names)


def test_code_of_testing() -> None:
    """The blocks of the testing README run, one after the other; ``test_user_project.py`` runs those of cassettes."""
    *_, first, second = blocks("python", OF_TESTING.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}

    exec(first, names)
    exec(second, names)


def test_public_names() -> None:
    """The README and the reference name nothing of the package that is not there, and most of what is."""
    named = set(re.findall(r"openai_continue\.(\w+)", TEXT + DETAILS)) - {"pth"}

    assert named <= {*openai_continue.__all__, "auto", "testing"}
    assert {"Continuation", "OpenAI", "disabled", "patch", "report_of", "unpatch"} <= named


def test_completions(emulator: Emulator) -> None:
    """Text completions are continued."""
    with OpenAI(base_url=emulator.base_url, api_key="key", continuation=DEEPINFRA) as client:
        completion = client.completions.create(model="m", prompt="Once upon a time")

    assert emulator.uncapped({"prompt": "Once upon a time"}) == completion.choices[0].text
    assert completion.choices[0].finish_reason == "stop"


def test_framework_that_sends_a_limit(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable, an answer goes on beyond the limit of its request."""
    assert "OPENAI_CONTINUE_REQUEST_LIMIT=round" in section("My framework sends a limit", DETAILS)
    monkeypatch.setenv("OPENAI_CONTINUE_REQUEST_LIMIT", "round")
    monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", "deepinfra")
    openai_continue.patch()
    with openai.OpenAI(base_url=emulator.base_url, api_key="key") as client:
        completion = client.chat.completions.create(**HANDBOOK, max_tokens=40)

    assert emulator.uncapped(HANDBOOK) == text_of(completion)


# The tables.


#: What the reference says of a setting: its name, its default, an example, its variable, and an error.
SETTING = re.compile(
    r"(?ms)^\*\*`(\w+)`\*\*:.*? Default (\S+?)[.:]\s.*?^- `(Continuation\(.*?\))`(?:, `(\w+)=(\S+?)`)?$.*?^- Error: `(.+?)`$"
)


def test_settings() -> None:
    """Each setting is there, with its default, an example that is taken, the same as a variable, and an error."""
    found = SETTING.findall(section("Settings", DETAILS.replace("\n### ", "\n")))
    defaults = Continuation()

    assert {field.name for field in fields(Continuation)} == {name for name, *_ in found}
    for name, default, example, variable, value, error in found:
        assert getattr(defaults, name) == eval(default.strip("`")), name
        given = eval(example, {"Continuation": Continuation})
        assert given != defaults, name
        if variable:
            assert given == Continuation.from_env({variable: value}), name
        assert message(name, error).startswith(error.rstrip("…")), name


def message(name: str, error: str) -> str:
    """Return what is raised for the value that an error names; of a template, for one that is switched on."""
    value = re.match(r"\w+: (?:got )?(.+?)(?:, accepted| cannot be read)", error)
    assert value, error
    with pytest.raises(SettingsError) as raised:
        openai_continue.patch(Continuation(**{name: eval(value[1])}))
    return str(raised.value)


def shape(value: Any) -> Any:
    """Return the keys of an object, and of those in it; an object of usage differs from server to server."""
    if isinstance(value, list):
        return [shape(each) for each in value]
    if isinstance(value, dict):
        return {key: "usage" if key == "usage" else shape(each) for key, each in value.items()}
    return type(value).__name__


def test_report() -> None:
    """A report has the form of the example, and the fields that are said of an error."""
    example = json.loads(*blocks("json", DETAILS))
    fails = [Fault("429", round=2)]

    report = reported(Emulator(cap=48, tokens=80))
    error = reported(Emulator(cap=48, tokens=180, faults=fails))["error"]

    assert (shape(example), example["stopped_by"]) == (shape(report), report["stopped_by"])
    assert (error["type"], error["status"]) == ("RateLimitError", 429)
    assert openai_continue.report_of({"continuation": example}) is not None


def reported(emulator: Emulator) -> dict[str, Any]:
    """Return the report of an answer."""
    with emulator, OpenAI(base_url=emulator.base_url, api_key="k", continuation=DEEPINFRA, max_retries=0) as client:
        completion = client.chat.completions.create(**{**HANDBOOK, "model": "Qwen/Qwen3-32B"})
        report: dict[str, Any] = completion.continuation  # type: ignore[attr-defined]
        return report


def test_reasons() -> None:
    """Each reason in the tables is one that the package gives."""
    rows = re.findall(r"(?m)^(`.+?`) \| ", section("Why an answer ended", DETAILS))[1:]
    reasons = [name for row in rows for name in spans(row) if "." not in name]
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "openai_continue").rglob("*.py"))

    assert {name for name in NATURAL_ENDS if name != "function_call"} == set(spans(rows[0]))
    assert len(reasons) == len(set(reasons))
    assert all(f'"{name}"' in source or f"class {name}" in source for name in reasons)
    assert set(spans("".join(re.findall(r"(?m)^(`.+?`) \| ", section("Why an answer is still cut"))))) <= {
        "stopped_by",
        *reasons,
    }


# The commands.


def commands() -> set[str]:
    """Return the commands in its blocks and in its lines."""
    shown = [line for block in blocks("sh") for line in block.splitlines()]
    shown += [
        span for span in spans(TEXT) if re.match(r"(openai-continue|pip|OPENAI_CONTINUE=1 python|\.ci/run) ", span)
    ]
    parts = (part for line in shown for part in re.split(r" && |  # ", line.partition("  # ")[0]))
    return {part.strip() for part in parts}


#: Where a command is run that is not run here: a file, and the words of the command in it.
ELSEWHERE = {
    "pip install openai-continue": (".ci/run", '"${wheels[0]}[cli]"'),
    "pip install 'openai-continue[cli]'": (".ci/run", '"${wheels[0]}[cli]"'),
    "pip install 'openai-continue[testing]'": (".ci/run", '"${wheels[0]}[cli]"'),
    "pip install '.[cli]'": (".ci/run", "pip install --quiet '.[cli]'"),
    "pip install -e '.[test]'": (".ci/run", "pip install --quiet -e '.[test]'"),
    "pip install -e '.[dev]'": (".ci/run", "pip install --quiet -e '.[dev]'"),
    "pytest": (".ci/run", "counted pytest\n"),
    ".ci/run lint types": (".ci/run", ".ci/run lint types"),
    ".ci/run": (".ci/run", "#!/usr/bin/env bash"),
    "OPENAI_CONTINUE=1 python app.py": (".ci/run", 'OPENAI_CONTINUE=1 "$scratch/user/bin/python"'),
    "pre-commit install": (".pre-commit-config.yaml", "repos:"),
    ".ci/run --list": (".ci/run", "--list"),
}


def demo(command: list[str], _folder: Path) -> None:
    assert main([*command, "--tokens", "17000"]) == 0


def doctor(command: list[str], _folder: Path) -> None:
    with Emulator(habits=Habits(marker="continue_final_message", usage="asked", limit_field="both")) as emulator:
        command = [emulator.base_url if word.startswith("http:") else word for word in command]
        assert main([*command, "--yes"]) == 0


def of_environment(command: list[str], _folder: Path) -> None:
    openai_continue.patch()
    assert main(command) == 0


def write(command: list[str], folder: Path) -> None:
    path = folder / "handbook.md"
    body = {"model": HANDBOOK["model"], "messages": [{"role": "user", "content": "Write a handbook."}]}
    with Emulator(cap=48, tokens=180) as emulator:
        options = [
            "--model",
            body["model"],
            "-o",
            str(path),
            "--base-url",
            emulator.base_url,
            "--provider",
            "deepinfra",
        ]
        assert main([*command, "Write a handbook.", *options]) == 0
        assert emulator.uncapped(body) == path.read_text(encoding="utf-8")


def batch(command: list[str], folder: Path) -> None:
    """Run the first line under "Batches" in the reference."""
    (shown,) = (words.split()[2:] for words in blocks("sh", section("Batches", DETAILS))[0].splitlines()[:1])
    written = Batch(folder, [line("a", ask("Write 60 tokens."))], {"a": Engine(cap=20)})
    written.run().rename(folder / "output.jsonl")
    words = shown[: shown.index("#")]
    assert main([*command, *(str(folder / word) if word.endswith(".jsonl") else word for word in words)]) == 0
    (request,) = read(folder / "next.jsonl")
    assert request["body"]["messages"][-1]["role"] == "assistant"


HERE: dict[str, Callable[[list[str], Path], None]] = {
    "openai-continue demo": demo,
    "openai-continue doctor --env": of_environment,
    "openai-continue doctor --model my-model --base-url http://127.0.0.1:8000/v1": doctor,
    "openai-continue write": write,
    "openai-continue batch": batch,
}


def test_commands_are_known() -> None:
    """Each command is run here or elsewhere."""
    assert commands() == {*HERE, *ELSEWHERE}


@pytest.mark.parametrize("command", HERE)
def test_command(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command does what the README says."""
    monkeypatch.setenv("DEEPINFRA_API_KEY", "key")
    words = [quoted or word for quoted, word in re.findall(r'"([^"]+)"|(\S+)', command)]

    HERE[command](words[1:], tmp_path)


def test_commands_that_run_elsewhere() -> None:
    """The files that run the others do so. The sdist has none whose name begins with a dot."""
    for file, words in ELSEWHERE.values():
        if not file.startswith(".") or (ROOT / ".ci").exists():
            assert words in (ROOT / file).read_text(encoding="utf-8"), (file, words)


@pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="an sdist has no files whose names begin with a dot")
def test_workflow_runs_every_stage() -> None:
    """The jobs of the workflow together run the stages of ``.ci/run``, but for the tables."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    of_checks = workflow["jobs"]["checks"]["strategy"]["matrix"]["stage"]
    of_engines = workflow["jobs"]["engines"]["steps"][-1]["run"].split()[1:]
    named = subprocess.run([ROOT / ".ci/run", "--list"], check=True, capture_output=True, text=True).stdout.split()

    assert sorted(of_checks + of_engines + ["frameworks", "instrumenters"]) == sorted(named)
