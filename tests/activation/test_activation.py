"""``OPENAI_CONTINUE=1`` where it counts: the wheel in an environment of its own, and no code."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.activation.conftest import ROOT, Home

pytestmark = pytest.mark.activation

TELL = """
import json, sys
early = "openai" in sys.modules
import openai
import openai_continue
print(json.dumps([openai_continue.is_patched(), early]))
"""


@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_install_and_uninstall(wheel: Path, tmp_path: Path, installer: str, editable: bool) -> None:
    """Installed either way by either tool it works; uninstalled, it leaves nothing."""
    home = Home(tmp_path / "venv", installer)

    home.install(*(["--editable", ROOT] if editable else [wheel]))

    assert (home.site / "openai_continue.pth").exists()
    assert (home.site / "openai_continue.start").exists()
    assert home.told("-c", TELL, wish="1") == [True, False]
    assert home.told("-c", TELL) == [False, False]
    assert (ROOT if editable else home.site) == Path(
        home.told("-c", "import json, openai_continue as it; print(json.dumps(it.__file__))")
    ).parent.parent

    home.uninstall()
    assert home.before == home.listed()
    assert ((done := home.run("-c", "pass", wish="1")).returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("flag", ["-E", "-I"])
def test_when_the_environment_is_ignored(home: Home, flag: str) -> None:
    """Under -E and -I the .pth is read, and the variable is ours, not one of Python's."""
    assert home.told(flag, "-c", TELL, wish="1") == [True, False]
    assert home.told(flag, "-c", TELL) == [False, False]


def test_without_site(home: Home) -> None:
    """Under -S no .pth is read; there is nothing to patch either."""
    done = home.run("-S", "-c", "import sys; print('openai_continue.startup' in sys.modules)", wish="1")

    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


CHILDREN = """
import json, multiprocessing, sys

def child(answers):
    early = "openai" in sys.modules
    import openai, openai_continue
    answers.put([openai_continue.is_patched(), early])

if __name__ == "__main__":
    said = {}
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        answers = context.Queue()
        process = context.Process(target=child, args=(answers,))
        process.start()
        said[method] = answers.get(timeout=600)
        process.join()
    print(json.dumps(said))
"""


@pytest.mark.parametrize("runner", [[], ["-m", "openai_continue", "run"]], ids=["variable", "run"])
def test_children(home: Home, tmp_path: Path, runner: list[str]) -> None:
    """Children of every start method inherit the variable, and what ``run`` sets."""
    app = tmp_path / "app.py"
    app.write_text(CHILDREN)

    said = home.told(*runner, app, wish=None if runner else "1")

    assert set(said) == {"spawn", "fork", "forkserver"}
    assert list(said.values()) == [[True, False]] * 3


def test_import_that_fails_at_first(home: Home, tmp_path: Path) -> None:
    """If the first import of openai fails and the next succeeds, the SDK is patched."""
    (tmp_path / "anyio.py").write_text("raise ImportError('not yet')\n")
    code = f"""
import json, sys
sys.path.insert(0, {str(tmp_path)!r})
try:
    import openai
except ImportError as error:
    first = str(error)
sys.path.pop(0)
for name in list(sys.modules):
    if name.partition(".")[0] == "openai":
        del sys.modules[name]
import openai, openai_continue
loaders = [type(openai.__loader__).__name__, type(openai.__spec__.loader).__name__]
hooks = [type(finder).__name__ for finder in sys.meta_path if type(finder).__module__.startswith("openai_continue")]
print(json.dumps([first, openai_continue.is_patched(), loaders, hooks]))
"""
    assert home.told("-c", code, wish="1") == ["not yet", True, ["SourceFileLoader"] * 2, []]


@pytest.mark.parametrize("wish", [None, "1"])
def test_half_removed(spoilt: Home, wish: str | None) -> None:
    """A .pth whose package is gone does not stop an interpreter; unset, it says nothing."""
    shutil.rmtree(spoilt.site / "openai_continue")
    done = spoilt.run("-c", "print('alive')", wish=wish)

    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert (wish is None) == (not done.stderr)


def test_startup_that_is_broken(spoilt: Home) -> None:
    """Whatever goes wrong in patching is one line, and openai works as without us."""
    (spoilt.site / "openai_continue" / "patching.py").write_text("raise RuntimeError('broken')\n")
    done = spoilt.run("-c", "import openai; print(openai.OpenAI.__name__)", wish="1")

    assert (done.returncode, done.stdout) == (0, "OpenAI\n")
    said = "openai_continue: RuntimeError: broken; openai is NOT patched (openai-continue doctor --env says more)"
    assert [said] == done.stderr.splitlines()


# openai-continue run, where no .pth is read.

APP = """
import json, sys
import openai
import openai_continue
import beside
main = sys.modules["__main__"]
print(json.dumps({
    "argv": sys.argv, "name": __name__, "file": __file__, "main": main.__dict__ is globals(), "beside": beside.__file__,
    "package": __package__ or "", "path": sys.path, "patched": openai_continue.is_patched(),
}))
sys.exit(3)
"""


@pytest.fixture
def unread(spoilt: Home, tmp_path: Path) -> Home:
    """An environment whose .pth of ours is missing, and a program to run in it."""
    (spoilt.site / "openai_continue.pth").unlink()
    for name in ("app.py", "folder/app.py", "pkg/__main__.py", "pkg/__init__.py", "folder/beside.py", "beside.py"):
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(APP if path.stem in ("app", "__main__") else "")
    return spoilt


RUNNERS = [["bin/openai-continue"], ["bin/python", "-m", "openai_continue"]]


@pytest.mark.parametrize("runner", RUNNERS, ids=["command", "-m"])
@pytest.mark.parametrize(
    "program",
    [["app.py", "a", "--b"], ["folder/app.py"], ["-m", "pkg", "a", "-m"], ["-m", "beside_app"]],
    ids=" ".join,
)
def test_run(unread: Home, tmp_path: Path, runner: list[str], program: list[str]) -> None:
    """``run`` runs a program as Python does, but patched: arguments, ``__main__``, path and exit code."""
    work = tmp_path / "work"
    (work / "beside_app.py").write_text(APP)

    def told(*command: object) -> dict[str, Any]:
        done = unread.run(*command, cwd=work)
        assert (done.returncode, done.stderr) == (3, ""), done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    plain = told(*program)
    words = [str(unread.folder / runner[0]), *runner[1:], "run", *program]
    ours = told(*(words if runner[0] != "bin/python" else words[1:]))

    assert (plain.pop("patched"), ours.pop("patched")) == (False, True)
    assert plain == ours


def test_run_when_killed(unread: Home, tmp_path: Path) -> None:
    """``OPENAI_CONTINUE=0`` wins over ``run``."""
    done = unread.run("-m", "openai_continue", "run", "app.py", cwd=tmp_path / "work", wish="0")

    assert (done.returncode, json.loads(done.stdout)["patched"]) == (3, False)


@pytest.mark.parametrize("program", ["pkg", "pkg.zip"])
def test_run_of_what_holds_a_main(unread: Home, tmp_path: Path, program: str) -> None:
    """Folders and archives with a ``__main__.py`` are run too."""
    work = tmp_path / "work"
    (work / "pkg" / "beside.py").touch()
    shutil.make_archive(str(work / "pkg"), "zip", work / "pkg")

    done = unread.run("-m", "openai_continue", "run", program, cwd=work)

    assert (done.returncode, json.loads(done.stdout)["patched"]) == (3, True)


def test_run_of_what_is_not_there(unread: Home) -> None:
    """A program that is not there is one line on stderr and Python's exit code for it."""
    done = unread.run("-m", "openai_continue", "run", "nowhere.py")

    assert (done.returncode, done.stdout, done.stderr) == (2, "", "openai-continue run: nowhere.py: no such file\n")


def test_run_leaves_the_program_as_main(unread: Home, tmp_path: Path) -> None:
    """What a program runs at exit finds it as ``__main__`` still."""
    app = tmp_path / "work" / "app.py"
    app.write_text("import atexit, sys; mine = 'it'; atexit.register(lambda: print(sys.modules['__main__'].mine))")

    assert unread.run("-m", "openai_continue", "run", app).stdout == "it\n"


def test_python_is_that_of_the_tests(home: Home) -> None:
    """The environments are of the Python that runs the tests."""
    assert list(sys.version_info[:3]) == home.told("-c", "import json, sys; print(json.dumps(sys.version_info[:3]))")


LOOK = ["-m", "openai_continue", "doctor", "--env", "--json"]


@pytest.mark.parametrize(("wish", "active"), [("1", True), (None, False)])
def test_doctor_of_the_environment(home: Home, wish: str | None, active: bool) -> None:
    """``doctor --env`` finds the line where the wheel put it, and whether Python has read it."""
    found = home.told(*LOOK, wish=wish)

    # The environment that runs the tests is searched for packages too.
    assert (str(home.site / "openai_continue.pth"), True) == (found["lines"][0], found["line_read"])
    assert (active, []) == (found["active"], found["problems"])


def test_doctor_where_the_line_is_missing(spoilt: Home) -> None:
    """If the line is gone, the variable does nothing, and ``doctor --env`` ends with 1 and says so."""
    (spoilt.site / "openai_continue.pth").unlink()
    done = spoilt.run(*LOOK, wish="1")

    (problem,) = json.loads(done.stdout)["problems"]
    assert problem.startswith("OPENAI_CONTINUE is set, but ")
    assert problem.endswith(". Use openai-continue run, or import openai_continue.auto.")
    assert done.returncode == 1
    # "run" does what the line does.
    assert spoilt.run("-m", "openai_continue", "run", *LOOK).returncode == 0
