"""The private parts of the SDK are checked once, when continuation is switched on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import openai
import pytest

import openai_continue
from openai_continue import Continuation, SettingsError, _sdk, startup
from openai_continue._cli import environment
from openai_continue._sdk.private_parts import PARTS
from openai_continue.testing import Emulator
from tests.support.bodies import ask
from tests.support.ways import ASYNC, SYNC, settled

ROOT = Path(openai_continue.__file__).parent
MODULE = "openai_continue._sdk.private_parts"
NAMES = [(path, part) for path, parts in PARTS.items() for part in parts]
PARAMETERS = [
    (path, part, parameter) for path, parts in PARTS.items() for part in parts for parameter in parts[part]
]  # fmt: skip


@pytest.fixture
def sdk() -> Iterator[pytest.MonkeyPatch]:
    """Give what changes the SDK, and makes the next ``patch()`` the first of its process. Its changes end first."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delitem(sys.modules, MODULE)
        monkeypatch.delattr(_sdk, "private_parts")
        yield monkeypatch


def owner_of(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name) if name else import_module(module)


def remove(path: str, part: str, sdk: pytest.MonkeyPatch) -> str:
    """Make the SDK one that lacks a part; return how an error names it."""
    owner = owner_of(path)
    if part in vars(owner):
        sdk.delattr(owner, part)
    else:
        sdk.delitem(owner.__annotations__, part)
    return f"openai {openai.__version__} has no {path.replace(':', '.')}.{part}; "


@pytest.mark.parametrize(("path", "part"), NAMES)
def test_part_that_is_missing(path: str, part: str, sdk: pytest.MonkeyPatch) -> None:
    """If the SDK lacks a part, ``patch()`` names it and the SDK's version, each time, and patches nothing."""
    expected = remove(path, part, sdk)

    for _ in range(2):
        with pytest.raises(SettingsError) as raised:
            openai_continue.patch()
        assert str(raised.value).startswith(expected)
    assert not openai_continue.is_patched()


@pytest.mark.parametrize(("path", "part", "parameter"), PARAMETERS)
def test_parameter_that_is_missing(path: str, part: str, parameter: str, sdk: pytest.MonkeyPatch) -> None:
    """A method that does not take a parameter by name is missing too."""
    names = ", ".join(name for name in PARTS[path][part] if name != parameter)
    sdk.setattr(owner_of(path), part, eval(f"lambda {names}: None"))

    with pytest.raises(SettingsError) as raised:
        openai_continue.patch()

    said = f"openai {openai.__version__} has no {path.replace(':', '.')}.{part}({parameter}=); "
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("path", PARTS)
def test_owner_that_is_missing(path: str, sdk: pytest.MonkeyPatch) -> None:
    """If a class or a module is gone, the error names it and not each of its parts."""
    module, _, name = path.partition(":")
    if name:
        sdk.delattr(import_module(module), name)
    else:
        sdk.setitem(sys.modules, module, None)

    with pytest.raises(SettingsError, match=f"has no {path.replace(':', '.')};"):
        openai_continue.patch()


def test_all_that_are_missing_are_named(sdk: pytest.MonkeyPatch) -> None:
    """One error names all parts that are missing."""
    remove("openai._base_client:BaseClient", "_build_request", sdk)
    remove("openai._base_client:AsyncAPIClient", "request", sdk)

    with pytest.raises(SettingsError, match=r"BaseClient\._build_request, no openai.*AsyncAPIClient\.request; "):
        openai_continue.patch()


def test_wrapper_of_another_library(sdk: pytest.MonkeyPatch) -> None:
    """A method that another library has replaced by one that takes whatever comes is not missing."""
    sdk.setattr(openai._base_client.SyncAPIClient, "request", lambda *args, **kwargs: None)

    openai_continue.patch()

    assert openai_continue.is_patched()


async def test_the_variable_with_a_part_missing(
    emulator: Emulator, sdk: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``OPENAI_CONTINUE=1`` prints one line, and the SDK works as it is; ``strict`` raises the error."""
    expected = remove("openai._base_client:BaseClient", "_should_retry", sdk)
    sdk.setenv("OPENAI_CONTINUE", "1")
    startup.init()
    startup.init()

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"openai_continue: SettingsError: {expected}")
    assert line.endswith("openai is NOT patched (openai-continue doctor --env says more)")
    for way in (SYNC, ASYNC):
        client = way.plain_client(emulator.base_url)
        completion = await settled(client.chat.completions.create(**ask("As it is.")))
        await settled(client.close())
        assert completion.choices[0].finish_reason == "length"
    sdk.setenv("OPENAI_CONTINUE", "strict")
    with pytest.raises(SettingsError, match="_should_retry"):
        startup.init()


def test_the_kill_switch_with_a_part_missing(sdk: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Under ``OPENAI_CONTINUE=0``, code that calls ``patch()`` gets one line, and goes on."""
    expected = remove("openai._base_client:BaseClient", "_make_status_error_from_response", sdk)
    sdk.setenv("OPENAI_CONTINUE", "0")

    for settings in (None, Continuation(max_rounds=3)):
        openai_continue.patch(settings)

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"openai_continue: {expected}")
    assert not openai_continue.is_patched()


def test_the_doctor_with_a_part_missing(sdk: pytest.MonkeyPatch) -> None:
    """``doctor --env`` says what is missing."""
    expected = remove("openai._compat", "model_copy", sdk)

    (problem,) = environment.examined().problems

    assert problem.startswith(f"openai could not be patched: SettingsError: {expected}")


def test_client_with_a_part_missing() -> None:
    """Our clients are not there if the SDK lacks a part; the error says which, and other names are there."""
    code = """
import openai, openai._base_client
del openai._base_client.BaseClient._calculate_retry_timeout
import openai_continue
print(openai_continue.is_patched(), openai_continue.unpatch())
for name in ("OpenAI", "AsyncOpenAI"):
    try:
        getattr(openai_continue, name)
    except openai_continue.SettingsError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)

    state, *errors = done.stdout.splitlines()
    said = f"openai {openai.__version__} has no openai._base_client.BaseClient._calculate_retry_timeout; "
    assert (state, len(errors)) == ("False None", 2)
    assert all(error.startswith(said) for error in errors)


def sources() -> Iterator[tuple[str, ast.AST]]:
    """Give each part of the code of the package, with the name of its module."""
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name.partition(".")[0] not in ("testing", "_core", "_tables"):
            yield from ((name, node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def test_all_private_names_are_listed() -> None:
    """Each private attribute of another object that the package uses is in the table, and no other private one is."""
    listed = {part for parts in PARTS.values() for part in parts if part.startswith("_")}
    used = {
        node.attr
        for _, node in sources()
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if ast.unparse(node.value) not in ("self", "cls")
    }

    # namedtuple has methods with an underscore.
    assert used - {"_replace"} == listed


def test_private_modules_are_imported_in_one_place() -> None:
    """No other module imports from a private module of the SDK; types alone cost nothing."""
    importing = {
        name
        for name, node in sources()
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openai._")
    }

    assert importing == {"_sdk.private_parts", "client_options"}
