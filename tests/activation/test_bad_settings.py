"""A bad variable, and the one rule for it: whatever the field, and however continuation is switched on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import openai
import pytest

import openai_continue
from openai_continue import Continuation, SettingsError, startup, switches
from openai_continue._sdk import template_files
from openai_continue._sdk.activation import from_environment
from openai_continue.testing import Emulator
from tests.activation.test_startup import python

#: A bad value of each variable, and what is accepted. FOLDER becomes an empty folder.
BAD = {
    "PROVIDER": ("azure", "accepted are anthropic, "),
    "ROUND_TOKENS": ("16384.0", "accepted is a whole number from 1"),
    "MAX_TOKENS": ("none", "accepted is a whole number from 1"),
    "REQUEST_LIMIT": ("call", "accepted is 'answer' or 'round'"),
    "USAGE": ("all", "accepted is 'billed' or 'one_call'"),
    "MAX_ROUNDS": ("two", "accepted is a whole number from 1"),
    "MAX_SECONDS": ("nan", "accepted is a number above 0"),
    "MAX_REPETITION": ("10", "accepted is a whole number from 1,000 to"),
    "MAX_COST": ("free", "accepted is a number above 0"),
    "TRIMS": ("auto", "accepted are 1, true, yes, on and 0, false, no, off"),
    "ON_ERROR": ("ignore", "accepted is 'partial' or 'raise'"),
    "HEAL_STREAMS": ("2", "accepted are 1, true, yes, on and 0, false, no, off"),
    "STREAM_ROUNDS": ("", "accepted are 1, true, yes, on and 0, false, no, off"),
    "CONTINUE_TOOL_CALLS": ("2", "accepted is True, False or one of "),
    "ON_REASONING_CUT": ("think", "accepted is 'continue', 'answer' or 'stop'"),
    "TEMPLATE": ("FOLDER/none.jinja", "accepted are 'auto' and the path of a chat template"),
    "JOURNAL": ("", "accepted is the path of a folder"),
    "PROGRESS": ("2", "accepted is True, False or 'always'"),
}
#: Other bad templates: the name of a file, and its content.
TEMPLATES = {"empty.jinja": b"", "binary.jinja": b"\xff\xfe\x00", "no.jinja": b"{% for x in %}", "": b""}


def auto() -> None:
    sys.modules.pop("openai_continue.auto", None)
    import_module("openai_continue.auto")


#: What code does to switch continuation on.
CODE: dict[str, Callable[[], object]] = {
    "patch()": openai_continue.patch,
    "auto": auto,
    "OpenAI": lambda: openai_continue.OpenAI(api_key="key"),
    "AsyncOpenAI": lambda: openai_continue.AsyncOpenAI(api_key="key"),
    "with_options()": lambda: openai_continue.OpenAI(api_key="key", continuation=False).with_options(continuation=True),
}


@pytest.fixture(params=BAD)
def bad(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Set a variable to a bad value; return the beginning of its error, and what is accepted."""
    value, accepted = BAD[request.param]
    value = value.replace("FOLDER", str(tmp_path))
    monkeypatch.setenv(f"OPENAI_CONTINUE_{request.param}", value)
    monkeypatch.setattr(switches, "_complaints", set())
    return f"OPENAI_CONTINUE_{request.param}={value!r}: ", accepted


def test_every_field_has_a_bad_value() -> None:
    """The table has each field that has a variable."""
    assert {name.lower() for name in BAD} == {*Continuation.__dataclass_fields__} - {"on_round"}


@pytest.mark.parametrize("way", CODE)
def test_code_raises(bad: tuple[str, str], way: str) -> None:
    """Where code switches continuation on, a bad variable raises at once, and nothing is switched on."""
    with pytest.raises(SettingsError) as raised:
        CODE[way]()

    assert str(raised.value).startswith(bad[0])
    assert bad[1] in str(raised.value)
    assert not openai_continue.is_patched()


def test_the_variable_says_it_and_goes_on(
    bad: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], emulator: Emulator
) -> None:
    """With ``OPENAI_CONTINUE=1`` it is one line on stderr, and the program goes on without continuation."""
    monkeypatch.setenv("OPENAI_CONTINUE", "1")
    startup.init()
    startup.init()
    with openai.OpenAI(api_key="key", base_url=emulator.base_url) as client:
        completion = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Go on."}])

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"openai_continue: SettingsError: {bad[0]}")
    assert bad[1] in line
    assert completion.choices[0].finish_reason == "length"


def test_strict_raises(bad: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``OPENAI_CONTINUE=strict`` the import of the SDK raises."""
    monkeypatch.setenv("OPENAI_CONTINUE", "strict")
    with pytest.raises(SettingsError) as raised:
        startup.init()

    assert str(raised.value).startswith(bad[0])


def test_the_kill_switch_wins(
    bad: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``OPENAI_CONTINUE=0`` the same code runs as without the library; a line on stderr names the variable."""
    monkeypatch.setenv("OPENAI_CONTINUE", "0")
    for switch_on in CODE.values():
        switch_on()

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"openai_continue: {bad[0]}")
    assert not openai_continue.is_patched()


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_that_are_none(name: str, tmp_path: Path) -> None:
    """A file without a template, and a folder without one, are bad values too, of the variable and in code."""
    path = tmp_path / name
    if name:
        path.write_bytes(TEMPLATES[name])
    settings = Continuation(template=path)

    with pytest.raises(SettingsError, match=r"OPENAI_CONTINUE_TEMPLATE='.*accepted are 'auto'"):
        from_environment({"OPENAI_CONTINUE_TEMPLATE": str(path)})
    for switch_on in (openai_continue.patch, lambda it: openai_continue.OpenAI(api_key="key", continuation=it)):
        with pytest.raises(SettingsError, match=r"^template: .*accepted are 'auto'"):
            switch_on(settings)
    assert not openai_continue.is_patched()


@pytest.mark.parametrize(("setting", "missing"), [("auto", "huggingface_hub"), ("auto", "jinja2"), (".", "jinja2")])
def test_a_template_whose_extra_is_missing(setting: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a template needs and is not installed is found at the same point."""
    found = template_files.find_spec
    monkeypatch.setattr(template_files, "find_spec", lambda name: None if name == missing else found(name))

    with pytest.raises(SettingsError, match=rf"^OPENAI_CONTINUE_TEMPLATE=.* needs {missing}: pip install"):
        from_environment({"OPENAI_CONTINUE_TEMPLATE": setting})


def test_good_templates(tmp_path: Path) -> None:
    """A file with a template is taken, and "auto" asks nobody before a call."""
    path = tmp_path / "x.jinja"
    path.write_text("{{ messages }}")

    for setting in (str(path), "auto"):
        assert from_environment({"OPENAI_CONTINUE_TEMPLATE": setting}).template == setting


@pytest.mark.parametrize("name", ["MAX_ROUNDS", "TEMPLATE"])
@pytest.mark.thorough
def test_in_a_program(name: str) -> None:
    """A number and a path go the same way in a Python of their own."""
    value = "/nonexistent.jinja" if name == "TEMPLATE" else "two"
    code = "import openai, openai_continue; print(openai_continue.is_patched())"
    on, strict = (python(code, OPENAI_CONTINUE=wish, **{f"OPENAI_CONTINUE_{name}": value}) for wish in ("1", "strict"))

    assert (on.returncode, on.stdout, len(on.stderr.splitlines())) == (0, "False\n", 1)
    assert f"SettingsError: OPENAI_CONTINUE_{name}={value!r}: " in on.stderr
    assert (strict.returncode, strict.stdout) == (1, "")
    assert f"SettingsError: OPENAI_CONTINUE_{name}={value!r}: " in strict.stderr.splitlines()[-1]
