"""What runs at the start of Python and at the import of openai: the finder, on a stand-in for openai."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openai_continue import startup

NAME = "stand_in_for_openai"


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[bool]]:
    """Make a package that stands in for openai; give whether it was loaded, at each patching."""
    home = tmp_path / NAME
    home.mkdir()
    (home / "__init__.py").write_text("READY = True\n")
    (home / "part.py").write_text("from . import READY\n")
    (home / "data.txt").write_text("data")
    calls: list[bool] = []
    monkeypatch.setattr(startup, "_TARGET", NAME)
    monkeypatch.setattr(startup, "_patch", lambda: calls.append(hasattr(sys.modules[NAME], "READY")))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OPENAI_CONTINUE", "1")
    yield calls
    for name in list(sys.modules):
        if name.partition(".")[0] == NAME:
            del sys.modules[name]


def finders() -> list[startup._Finder]:
    return [finder for finder in sys.meta_path if isinstance(finder, startup._Finder)]


def test_patches_after_the_import(patched: list[bool]) -> None:
    """The patch comes once, after the import of the module, and then the finder is gone."""
    startup.init()
    importlib.import_module("json.tool")
    assert patched == []
    assert len(finders()) == 1

    importlib.import_module(f"{NAME}.part")
    importlib.import_module(NAME)

    assert patched == [True]
    assert finders() == []


def test_leaves_the_module_as_it_would_be(patched: list[bool]) -> None:
    """Loader, spec and file are those of an import without us."""
    startup.init()

    module = importlib.import_module(NAME)

    assert module.__spec__ is not None
    assert type(module.__loader__) is type(module.__spec__.loader) is SourceFileLoader
    expected = PathFinder.find_spec(NAME)
    assert expected is not None
    assert (expected.origin, expected.submodule_search_locations) == (module.__file__, list(module.__path__))
    assert expected.origin == module.__spec__.origin


def test_init_twice(patched: list[bool]) -> None:
    """In a virtual environment .pth files are read twice; there is one finder."""
    startup.init()
    startup.init()
    assert len(finders()) == 1

    importlib.import_module(NAME)
    assert patched == [True]


def test_init_when_imported_already(patched: list[bool]) -> None:
    """If the module is imported already, it is patched at once."""
    importlib.import_module(NAME)

    startup.init()

    assert patched == [True]
    assert finders() == []


def test_import_that_fails_at_first(patched: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed import raises its own error and is not patched; the next one is."""
    package = Path(PathFinder.find_spec(NAME).origin)  # type: ignore[union-attr, arg-type]
    package.write_text("from sys import bad\nREADY = True\n")
    startup.init()
    for _ in range(2):
        with pytest.raises(ImportError, match="bad"):
            importlib.import_module(NAME)
    assert (patched, len(finders())) == ([], 1)

    monkeypatch.setattr(sys, "bad", True, raising=False)
    importlib.import_module(NAME)

    assert patched == [True]
    assert finders() == []


def test_import_of_what_is_not_installed(patched: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK the import fails as without us, and code that does without goes on."""
    monkeypatch.setattr(startup, "_TARGET", "not_installed_anywhere")
    startup.init()

    with pytest.raises(ModuleNotFoundError, match="No module named 'not_installed_anywhere'"):
        importlib.import_module("not_installed_anywhere")

    assert patched == []


def test_looking_without_importing(patched: list[bool]) -> None:
    """Code that only looks for the module finds it, its source and its data, and nothing is patched."""
    startup.init()

    spec = importlib.util.find_spec(NAME)

    assert spec is not None
    loader: Any = spec.loader
    assert loader.get_source(NAME) == "READY = True\n"
    assert loader.is_package(NAME)
    assert patched == []
    assert pkgutil.get_data(NAME, "data.txt") == b"data"


class Other:
    """Another library's hook that asks the other finders, as ours does."""

    def __init__(self) -> None:
        self.asked = 0
        self._busy = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != NAME or self._busy:
            return None
        self.asked += 1
        self._busy = True
        try:
            return importlib.util.find_spec(name)
        finally:
            self._busy = False


@pytest.mark.parametrize("place", [0, 1])
def test_with_another_hook(patched: list[bool], place: int) -> None:
    """Another hook, before or after ours, has its turn, and neither runs into the other."""
    startup.init()
    other = Other()
    sys.meta_path.insert(place, other)

    importlib.import_module(NAME)

    assert other.asked == 1
    assert patched == [True]
    assert finders() == []


def test_with_an_old_finder(patched: list[bool]) -> None:
    """A finder without find_spec, which Python before 3.12 takes, is passed over."""
    startup.init()
    sys.meta_path.append(SimpleNamespace())  # type: ignore[arg-type]

    importlib.import_module(NAME)

    assert patched == [True]


def test_finder_stays_while_others_look(patched: list[bool]) -> None:
    """The list of finders does not change during the search: a thread that walks it would pass over one."""
    startup.init()
    walked = sys.meta_path
    seen: list[list[Any]] = []

    class Looks:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> None:
            seen.append(list(walked))

    walked.insert(1, Looks())
    before = list(walked)
    importlib.import_module(NAME)

    assert [before] == seen
    assert before == walked
    assert before[1:] == sys.meta_path
    assert patched == [True]


def test_import_from_many_threads(patched: list[bool]) -> None:
    """Imported from many threads at once, it is patched once, and all get the whole module."""
    startup.init()
    start = threading.Barrier(8)
    got: list[bool] = []

    def imports() -> None:
        start.wait()
        got.append(importlib.import_module(NAME).READY)

    threads = [threading.Thread(target=imports) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (patched, got) == ([True], [True] * 8)


@pytest.mark.parametrize("wish", [None, "", "0", "false", "no", "off", " Off "])
def test_init_when_off(
    patched: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wish: str | None,
) -> None:
    """Unset, or set to off, nothing is hooked and nothing said."""
    monkeypatch.delenv("OPENAI_CONTINUE")
    if wish is not None:
        monkeypatch.setenv("OPENAI_CONTINUE", wish)

    startup.init()

    assert (finders(), capsys.readouterr()) == ([], ("", ""))


@pytest.mark.parametrize("wish", ["1", "true", "YES", " on ", "strict"])
def test_init_when_on(patched: list[bool], monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    """Each of the words for on hooks."""
    monkeypatch.setenv("OPENAI_CONTINUE", wish)

    startup.init()

    assert len(finders()) == 1


def test_init_when_the_word_is_unknown(
    patched: list[bool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown word hooks nothing and is one line on stderr, however often the .pth is read."""
    monkeypatch.setenv("OPENAI_CONTINUE", "2")

    startup.init()
    startup.init()

    (line,) = capsys.readouterr().err.splitlines()
    assert "openai_continue: OPENAI_CONTINUE='2': accepted are 1, true," in line
    assert line.endswith("openai is NOT patched (openai-continue doctor --env says more)")
    assert finders() == []


# The whole way, with the SDK itself. The children get what the .pth does, since a source tree has none.

PTH = (Path(startup.__file__).with_name("openai_continue.pth")).read_text()
IS_PATCHED = "import openai, openai_continue; print(openai_continue.is_patched())"


def python(code: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-c", f"{PTH}\n{code}"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=Path(startup.__file__).parent.parent,
        env={**clean_environment(), **environment},
    )


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_CONTINUE")}


@pytest.mark.thorough
def test_bad_setting() -> None:
    """A bad setting is one line on stderr, and the program goes on with the SDK as it is."""
    done = python(IS_PATCHED, OPENAI_CONTINUE="1", OPENAI_CONTINUE_MAX_ROUNDS="many")

    assert (done.returncode, done.stdout) == (0, "False\n")
    (line,) = done.stderr.splitlines()
    assert "OPENAI_CONTINUE_MAX_ROUNDS='many'" in line
    assert line.endswith("openai is NOT patched (openai-continue doctor --env says more)")


@pytest.mark.parametrize("flags", [[], ["-E"], ["-I"]], ids=" ".join)
@pytest.mark.thorough
def test_bad_setting_when_strict(flags: list[str]) -> None:
    """``strict`` makes the import of openai raise the error that names the variable."""
    done = python(IS_PATCHED, *flags, OPENAI_CONTINUE="strict", OPENAI_CONTINUE_MAX_ROUNDS="many")

    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("openai_continue.errors.SettingsError: OPENAI_CONTINUE_MAX_ROUNDS='many'")


@pytest.mark.parametrize("flag", ["-E", "-I"])
@pytest.mark.parametrize(("wish", "patched"), [("1", True), ("strict", True), ("0", False)])
@pytest.mark.thorough
def test_when_the_environment_is_ignored(flag: str, wish: str, patched: bool) -> None:
    """``-E`` and ``-I`` are about the variables ``PYTHON*``; ours holds, since pipx and pex start programs so."""
    done = python(IS_PATCHED, flag, OPENAI_CONTINUE=wish)

    assert (f"{patched}\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("first", ["patching", "auto", "clients", "_sdk.hooks"])
@pytest.mark.thorough
def test_when_ours_imports_the_sdk(first: str) -> None:
    """If a module of ours is the first to import the SDK, it is patched when that import is done, and hooked no more."""
    code = f"import sys, openai_continue.{first}\nprint(openai_continue.is_patched(), 'startup' in str(sys.meta_path))"

    done = python(code, OPENAI_CONTINUE="1")

    assert (done.stdout, done.stderr) == ("True False\n", "")


@pytest.mark.thorough
def test_when_our_settings_come_first() -> None:
    """A ``patch()`` with settings, which imports the SDK, holds; the environment's settings do not replace it."""
    code = "import openai_continue as oc; oc.patch(oc.Continuation(max_rounds=3)); from openai_continue import patching"

    done = python(f"{code}; print(patching._settings.max_rounds)", OPENAI_CONTINUE="1", OPENAI_CONTINUE_MAX_ROUNDS="5")

    assert (done.stdout, done.stderr) == ("3\n", "")


def test_costs_no_import() -> None:
    """Until openai is imported, nothing is loaded but startup and the package's own lazy shell."""
    code = "print(sorted(name for name in sys.modules if name.split('.')[0] in ('openai_continue', 'wrapt', 'openai')))"
    unset, on = (python(f"import sys; {code}", "-S", **wish) for wish in ({}, {"OPENAI_CONTINUE": "1"}))

    assert (unset.stdout, unset.stderr) == ("[]\n", "")
    assert (
        on.stdout,
        on.stderr,
    ) == ("['openai_continue', 'openai_continue.startup', 'openai_continue.switches']\n", "")


def test_the_first_call_imports_the_core() -> None:
    """After the import of openai it is patched, and only the settings are loaded; a request imports the rest."""
    seen = "sorted(name[16:] for name in sys.modules if name.startswith('openai_continue.'))"
    code = f"""
import openai, sys
from openai_continue.patching import is_patched
print(is_patched(), {seen})
try:
    openai.OpenAI(api_key="key", base_url="http://127.0.0.1:1", max_retries=0).models.list()
except openai.APIConnectionError:
    print("_core.rounds" in {seen})
"""

    done = python(code, OPENAI_CONTINUE="1")

    loaded = ["_sdk", "_sdk.activation", "_sdk.private_parts", "errors", "patching", "settings", "startup", "switches"]
    assert (f"True {loaded}\nTrue\n", "") == (done.stdout, done.stderr)
