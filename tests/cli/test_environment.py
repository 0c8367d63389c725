"""``openai-continue doctor --env``. tests/activation runs it in environments of their own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wrapt
from openai._base_client import SyncAPIClient

import openai_continue
from openai_continue._cli import environment, main

ROOT = Path(openai_continue.__file__).parent
#: What Python runs at its start, if the library is installed; a source tree has no such line.
PTH = (ROOT / "openai_continue.pth").read_text()
LOOK = "import sys; from openai_continue._cli import main; sys.exit(main(['doctor', '--env', '--json']))"


def looked(code: str = LOOK, *flags: str, **variables: str) -> tuple[int, dict[str, Any], str]:
    """Run the command in a Python of its own; return its exit code, its JSON, and all that it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        [sys.executable, *flags, "-c", f"{PTH}\n{code}"],
        cwd=ROOT.parent,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("wish", "said", "active", "code"),
    [
        (None, "not set", False, 0),
        ("1", "on", True, 0),
        ("strict", "strict", True, 0),
        ("0", "off", False, 1),
        ("2", "unknown", False, 1),
    ],
)
@pytest.mark.thorough
def test_variable(wish: str | None, said: str, active: bool, code: int) -> None:
    """The exit code says whether continuation is on, or would be on after ``patch()``."""
    ended, found, _ = looked(**({} if wish is None else {"OPENAI_CONTINUE": wish}))

    assert (code, said, active, active) == (ended, found["wish"], found["active"], found["patched"])
    assert (code == 1) == any("OPENAI_CONTINUE" in problem for problem in found["problems"])
    ours = {method: modules for method, modules in found["wrappers"].items() if modules}
    assert ours == ({method: ["openai_continue"] for method in list(found["wrappers"])[:5]} if active else {})


@pytest.mark.parametrize("flag", ["-E", "-I", "-S"])
@pytest.mark.thorough
def test_options_of_python(flag: str) -> None:
    """Under -E and -I the line is read; -S is named as what keeps it from being read."""
    # With -S the line of the test stands for nothing, and neither does what -S leaves out of the path.
    code = LOOK if flag != "-S" else f"import sys; sys.path[:] = {sys.path}; del sys.modules['os']; import os; {LOOK}"
    variables = {"OPENAI_CONTINUE": "1"} if flag != "-S" else {}
    ended, found, _ = looked(code, flag, **variables)

    assert flag in found["flags"]
    assert (0, flag != "-S") == (ended, found["active"])
    if flag == "-S":
        assert found["line_read"] is False
        assert "OPENAI_CONTINUE=1 would do nothing, for python -S reads no openai_continue.pth." in found["notes"][0]


@pytest.mark.thorough
def test_bad_variables() -> None:
    """A bad value is shown with what is accepted. The value of an unknown variable may be a key, and is not."""
    bad = {"OPENAI_CONTINUE_MAX_ROUNDS": "many", "OPENAI_CONTINUE_API_KEY": "sk-secret", "OPENAI_API_KEY": "sk-secret"}
    bad["OPENAI_CONTINUE_TEMPLATE"] = "/none.jinja"
    ended, found, printed = looked(**bad, OPENAI_CONTINUE="1", OPENAI_CONTINUE_TRIMS="yes")

    assert (ended, found["active"], found["patched"]) == (1, False, False)
    values = {each["name"]: (each["value"], each["error"] is None) for each in found["variables"]}
    assert values == {
        "OPENAI_CONTINUE_API_KEY": (None, False),
        "OPENAI_CONTINUE_MAX_ROUNDS": ("many", False),
        "OPENAI_CONTINUE_TEMPLATE": ("/none.jinja", False),
        "OPENAI_CONTINUE_TRIMS": ("yes", True),
    }
    assert "OPENAI_CONTINUE_MAX_ROUNDS='many': accepted is a whole number from 1 to 1,000,000,000" in found["problems"]
    assert any(each.startswith("OPENAI_CONTINUE_API_KEY: no such setting") for each in found["problems"])
    assert "sk-secret" not in printed


@pytest.mark.parametrize(
    ("url", "provider", "expected", "code"),
    [
        ("https://api.deepinfra.com/v1/openai", None, ("api.deepinfra.com", "deepinfra", True), 0),
        ("https://api.deepseek.com/beta", None, ("api.deepseek.com", "deepseek", True), 0),
        ("https://api.deepseek.com", None, ("api.deepseek.com", None, False), 1),
        ("https://api.openai.com/v1", None, ("api.openai.com", "openai", False), 0),
        ("http://me:secret@127.0.0.1:8000/v1", None, ("127.0.0.1", None, False), 1),
        ("http://127.0.0.1:8000/v1", "vllm", ("127.0.0.1", "vllm", True), 0),
        ("", None, (None, None, False), 0),
        ("", "vllm", (None, "vllm", True), 0),
    ],
)
def test_host(
    url: str, provider: str | None, expected: tuple[Any, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row for ``OPENAI_BASE_URL`` is named; a host in no row is a problem if continuation is asked for."""
    openai_continue.patch()
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    if provider is not None:
        monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", provider)
    assert not environment.examined().problems
    monkeypatch.setenv("OPENAI_CONTINUE", "1")
    found = environment.examined()

    assert (found.host, found.provider, found.continues) == expected
    assert bool(code) == bool(found.problems)
    assert "secret" not in str(found)
    if code:
        assert "OPENAI_CONTINUE_PROVIDER" in found.problems[0]
        assert "openai-continue doctor --base-url" in found.problems[0]


@pytest.mark.parametrize(
    ("provider", "shown", "is_noted"),
    [
        ("vllm", "; vllm continues there", False),
        ("deepinfra", "; deepinfra continues there", False),
        ("llama.cpp", "; llama.cpp does not continue there", True),
        ("openai", "; openai does not continue there", False),
        (None, "", False),
    ],
)
@pytest.mark.spread(5)
def test_responses(
    provider: str | None,
    shown: str,
    is_noted: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The rows whose answers at ``/responses`` are continued are named, and what holds for the row that is set."""
    if provider is not None:
        monkeypatch.setenv("OPENAI_CONTINUE_PROVIDER", provider)
    main(["doctor", "--env"])
    said = capsys.readouterr().out.splitlines()

    assert f"/responses          continued on the rows deepinfra (by schema), vllm{shown}" in said
    assert any("Let your framework ask for chat completions." in line for line in said) is is_noted
    assert environment.examined().continues_responses is (shown.endswith("continues there") and "not" not in shown)


def test_other_wrappers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrappers of others are named by the module of their code, the outermost first."""
    openai_continue.patch()
    ours = SyncAPIClient.__dict__["request"]

    @functools.wraps(ours)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    monkeypatch.setattr(SyncAPIClient, "request", plain)
    wrapt.wrap_function_wrapper(SyncAPIClient, "request", lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs))
    found = environment.examined()

    assert [__name__, __name__, "openai_continue"] == found.wrappers["SyncAPIClient.request"]
    assert found.wrappers["AsyncAPIClient.request"] == ["openai_continue"]
    assert any("Another library has wrapped our wrapper" in note for note in found.notes)


IN_A_PROGRAM = [
    ("import openai_continue.auto", None, 0, []),
    ("import openai_continue; openai_continue.patch(); openai_continue.unpatch()", None, 0, []),
    ("import openai, openai_continue; openai_continue.unpatch()", "1", 1, ["openai is not patched"]),
]


@pytest.mark.parametrize(("before", "wish", "code", "problems"), IN_A_PROGRAM)
@pytest.mark.thorough
def test_in_a_program(before: str, wish: str | None, code: int, problems: list[str]) -> None:
    """In a program that calls it, it tells what is on there."""
    ended, found, _ = looked(f"{before}; {LOOK}", **({} if wish is None else {"OPENAI_CONTINUE": wish}))

    assert (code, "auto" in before) == (ended, found["active"])
    assert len(problems) == len(found["problems"])
    assert all(problem.startswith(start) for problem, start in zip(found["problems"], problems, strict=True))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of packages, in a Python that has read no line of ours although the variable is set."""
    monkeypatch.setenv("OPENAI_CONTINUE", "1")
    monkeypatch.delitem(sys.modules, "openai_continue.startup", raising=False)
    monkeypatch.setattr(environment, "_site_folders", lambda: [tmp_path])
    told = ("executable", "flags", "modules", "version_info")
    monkeypatch.setattr(environment, "sys", SimpleNamespace(path=[], **{name: getattr(sys, name) for name in told}))
    return tmp_path


def problem() -> str:
    (said,) = environment.examined().problems
    return said


def test_why_the_line_was_not_read(unread: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is named, and what to do instead."""
    line = unread / "openai_continue.pth"
    assert f"there is no {line.name} in {unread}. Use openai-continue run, or import" in problem()
    line.touch()
    assert f"{line} was not read; was the variable set when Python started?" in problem()

    target = unread / "target"
    target.mkdir()
    line.rename(target / line.name)
    monkeypatch.setattr(environment.sys, "path", [str(target)])
    assert f"{target / line.name} is not read, since Python takes its folder for no site-packages" in problem()

    monkeypatch.setattr(environment.sys, "frozen", True, raising=False)
    assert f"no {line.name} is read in a frozen program" in problem()


@pytest.mark.parametrize(
    ("installed", "supported"),
    [("1.91.9", False), ("1.92", True), ("1.92.0", True), ("2.0.0b1", True), ("3.99.1", True), ("4.0.0", False)],
)
def test_versions(installed: str, supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of openai out of the supported range is a problem, or a note if it is patched all the same."""
    monkeypatch.setattr(environment, "_version", lambda name: installed)
    monkeypatch.setattr(environment, "requires", lambda name: ["openai<4,>=1.92", "wrapt<3,>=1.17"])
    said = f"openai {installed} is not supported, accepted is >=1.92,<4."

    assert ([] if supported else [said]) == environment.examined().problems
    openai_continue.patch()
    found = environment.examined()
    assert ([], supported) == (found.problems, said not in found.notes)


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not installed is named, with the command that installs it."""
    monkeypatch.setattr(environment, "_version", lambda name: None if name == "wrapt" else "3.0")

    assert "wrapt is not installed in this environment: pip install openai-continue" in environment.examined().problems


def test_an_sdk_that_cannot_be_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What importing the SDK raises is a problem, and nothing is said of its methods."""

    def fail(*_: object) -> None:
        raise ImportError("cannot import name 'BaseClient'")

    monkeypatch.setattr(environment, "import_module", fail)
    found = environment.examined()

    assert (
        found.wrappers,
        found.problems,
    ) == ({}, ["openai could not be patched: ImportError: cannot import name 'BaseClient'"])


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    def read() -> tuple[int, list[str]]:
        code = main(["doctor", "--env"])
        return code, capsys.readouterr().out.splitlines()

    return read


def test_words(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``--json`` it is text, whose last line is the verdict. It needs no extra."""
    monkeypatch.setitem(sys.modules, "rich", None)
    assert ((said := lines())[0], said[1][-1]) == (0, "Continuation is not on; patch() would switch it on.")
    openai_continue.patch()
    code, said = lines()
    assert (code, said[-1]) == (0, "Continuation is on.")
    assert "patch()             in force" in said
    assert any(line.startswith("wrapped by          openai_continue: SyncAPIClient.request, ") for line in said)
    monkeypatch.setenv("OPENAI_CONTINUE", "0")
    code, said = lines()
    assert (code, said[-1]) == (1, "Continuation does not work here.")
    assert "problem: OPENAI_CONTINUE switches continuation off, whatever the code says. Unset it." in said


@pytest.mark.thorough
def test_the_command_run_reads_no_line() -> None:
    """It does what the line does, also in a frozen program, which reads none."""
    words = ["run", "-m", "openai_continue", "doctor", "--env", "--json"]
    code = f"import sys; sys.frozen = True; from openai_continue._cli import main; main({words})"
    ended, found, _ = looked(code, OPENAI_CONTINUE="1")

    assert (ended, found["active"]) == (0, True)
    assert found["line_read"] is False
