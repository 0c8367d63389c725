"""Say what is switched on in this Python, and what keeps it from working. Sends no request and needs no extra."""

from __future__ import annotations

import json
import operator
import os
import platform
import re
import site
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai_continue

from .. import switches
from .._sdk.activation import from_environment
from .._tables import providers
from ..errors import SettingsError
from ..settings import Continuation
from .wrapping import wrapped

_OURS = "openai-continue"
_LINE = "openai_continue.start" if sys.version_info >= (3, 15) else "openai_continue.pth"
_ELSE = "Use openai-continue run, or import openai_continue.auto."
#: Options of Python, by their name in sys.flags.
_FLAGS = {"isolated": "-I", "ignore_environment": "-E", "no_site": "-S", "no_user_site": "-s", "safe_path": "-P"}


@dataclass(slots=True)
class Variable:
    """A variable ``OPENAI_CONTINUE_<FIELD>``."""

    name: str
    #: None if there is no such setting: then it may be anything, a key too.
    value: str | None
    #: What is wrong with it, or None.
    error: str | None


@dataclass(slots=True)
class Environment:
    """What is switched on in this Python; printed as JSON by ``--json``."""

    python: str
    executable: str
    #: Versions, by the name of the package; None if it is not installed.
    packages: dict[str, str | None]
    #: The versions of openai that are supported, such as ">=1.92,<4"; "" if unknown.
    supported: str
    #: Options of Python that are set, such as "-I".
    flags: list[str]
    #: Whether this is a program that was frozen into one file or folder.
    frozen: bool
    #: ``OPENAI_CONTINUE``: "on", "off", "strict", "not set" or "unknown".
    wish: str
    #: The files that switch continuation on at the start of Python.
    lines: list[str]
    #: Whether Python has read that file; if the variable is not set, whether it would. None: that is unknown.
    line_read: bool | None
    variables: list[Variable]
    #: Whether ``patch()`` is in force in this process.
    patched: bool
    #: By method of the SDK: the modules that have wrapped it, the outermost first.
    wrappers: dict[str, list[str]]
    #: The host of ``OPENAI_BASE_URL``, or None if that is not set.
    host: str | None
    #: The row of the provider table for that host, or that the variables name; None if there is none.
    provider: str | None
    #: Whether answers of that host are continued.
    continues: bool
    #: Whether its answers at ``/responses`` are, too; and the rows of the provider table whose answers there are.
    continues_responses: bool
    response_rows: list[str]
    #: What keeps continuation from working, and what to do.
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    @property
    def active(self) -> bool:
        """Whether answers are continued in this process."""
        return self.patched and self.wish != "off"

    @property
    def is_asked(self) -> bool:
        """Whether the variable asks for continuation."""
        return self.wish in ("on", "strict")

    @property
    def is_unknown(self) -> bool:
        """Whether ``OPENAI_BASE_URL`` names a host that is in no row."""
        return self.host is not None and self.provider is None


def run(*, as_json: bool) -> int:
    """Print what is switched on; return 0 if continuation is on or ``patch()`` would switch it on, else 1."""
    found = examined()
    if as_json:
        print(json.dumps({**asdict(found), "active": found.active}))
    else:
        print("\n".join(wrapped(line, sys.stdout) for line in _shown(found)))
    return 1 if found.problems else 0


def examined() -> Environment:
    """Look at this process. Imports openai, as a program does, so that what waits for that import is done."""
    failure = _import_failure()
    files, variables = list(_lines()), list(_variables())
    host, row = _at_base_url(variables)
    found = Environment(
        python=platform.python_version(),
        executable=sys.executable,
        packages={name: _version(name) for name in (_OURS, "openai", "wrapt")},
        supported=_supported(),
        flags=[option for name, option in _FLAGS.items() if getattr(sys.flags, name, False)],
        frozen=bool(getattr(sys, "frozen", False)),
        wish=_wish(),
        lines=[str(path) for path in files],
        line_read=_is_read(files),
        variables=variables,
        patched=failure is None and openai_continue.is_patched(),
        wrappers={} if failure is not None else dict(_wrappers()),
        host=host,
        provider=None if row is None else row.name,
        continues=row is not None and row.continues,
        continues_responses=row is not None and row.response_marks is not None,
        response_rows=[_name_at_responses(each) for each in providers.PROVIDERS if each.response_marks is not None],
    )
    found.problems = list(_problems(found, files, failure))
    if found.is_asked and not found.patched and not found.problems:
        found.problems.append("openai is not patched. Was unpatch() called?")
    found.notes = list(_notes(found, files))
    return found


def _import_failure() -> Exception | None:
    """Import the SDK and what patches it; return what that raised, or None."""
    try:
        import_module("..patching", __package__)
        import_module(".._sdk.private_parts", __package__)
    except Exception as error:  # "strict" raises here, and so may a version of the SDK that is not supported
        return error
    return None


def _wish() -> str:
    word = switches.word()
    if not word:
        return "not set"
    known = {**dict.fromkeys(switches.ON, "on"), **dict.fromkeys(switches.OFF, "off"), switches.STRICT: "strict"}
    return known.get(word, "unknown")


def _variables() -> Iterator[Variable]:
    prefix = switches.VARIABLE + "_"
    for name in sorted(os.environ):
        if not name.startswith(prefix):
            continue
        value = os.environ[name]
        is_known = name.removeprefix(prefix).lower() in Continuation.__dataclass_fields__
        try:
            from_environment({name: value})
        except SettingsError as error:
            yield Variable(name, value if is_known else None, str(error))
        else:
            yield Variable(name, value, None)


def _at_base_url(variables: list[Variable]) -> tuple[str | None, providers.Provider | None]:
    """Return the host that ``OPENAI_BASE_URL`` names, and the row of the provider table for calls to it."""
    named = next((each.value for each in variables if each.name.endswith("_PROVIDER") and not each.error), None)
    # A base_url may hold a name and a password; neither is kept.
    address = urlsplit(os.environ.get("OPENAI_BASE_URL", "").strip())
    if not address.hostname:
        return None, None if named is None else providers.named(named)
    return address.hostname, providers.chosen(named, address.hostname, address.path)


def _name_at_responses(row: providers.Provider) -> str:
    return row.name if row.measured_responses else f"{row.name} (by schema)"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _supported() -> str:
    try:
        wanted = requires(_OURS) or []
    except PackageNotFoundError:
        return ""
    ranges = (re.fullmatch(r"openai\s*\(?([<>=!~\d.,\s]+)\)?", each) for each in wanted)
    return ",".join(sorted(next((each[1] for each in ranges if each), "").split(","), reverse=True))


def _unsupported(found: Environment) -> Iterator[str]:
    """Yield a sentence if the installed openai is not of a supported version."""
    installed, checks = found.packages["openai"], {">=": operator.ge, "<": operator.lt}
    limits = re.findall(r"(>=|<)\s*([\d.]+)", found.supported)
    if installed is None or not all(checks[sign](_numbers(installed), _numbers(limit)) for sign, limit in limits):
        yield f"openai {installed} is not supported, accepted is {found.supported or 'unknown'}."


def _numbers(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)[:3]]


def _site_folders() -> list[Path]:
    """Return the folders whose ``.pth`` files Python reads at its start."""
    if sys.flags.no_site or getattr(sys, "frozen", False):
        return []
    own = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [Path(folder) for folder in [*site.getsitepackages(), *own]]


def _lines() -> Iterator[Path]:
    """Give the files that switch continuation on, wherever packages are found."""
    folders = dict.fromkeys([*_site_folders(), *(Path(folder) for folder in sys.path if folder)])
    yield from (path for path in (folder / _LINE for folder in folders) if path.is_file())


def _is_read(files: list[Path]) -> bool | None:
    package = __name__.partition(".")[0]
    # The command "run" does what the line does.
    if switches.word() and f"{package}._cli.run" not in sys.modules:
        return f"{package}.startup" in sys.modules
    # What another .pth file names may be a folder of such files, as uvx --with has it.
    return _is_in_site(files) or (None if files and _site_folders() else False)


def _is_in_site(files: list[Path]) -> bool:
    folders = _site_folders()
    return any(path.parent in folders for path in files)


def _wrappers() -> Iterator[tuple[str, list[str]]]:
    """Give the methods of the SDK that we wrap, and those that others do, with the modules of their wrappers."""
    from openai.resources.chat.completions import AsyncCompletions, Completions

    from ..patching import methods

    ours = [(owner, name) for owner, name, _ in methods()]
    for owner, name in [*ours, (Completions, "create"), (AsyncCompletions, "create")]:
        modules: list[str] = []
        function: Any = owner.__dict__[name]
        while function is not None:
            module = _module_of(function)
            if module.partition(".")[0] != "openai":
                modules.append("openai_continue" if module.startswith("openai_continue.") else module)
            function = getattr(function, "__wrapped__", None)
        yield f"{owner.__name__}.{name}", modules


def _module_of(function: Any) -> str:
    """Return the module of the code of a wrapper; ``__module__`` is copied from what it wraps."""
    # wrapt keeps the wrapper here, and shows all else of the wrapped function.
    code = getattr(function, "_self_wrapper", function)
    code = getattr(code, "func", code)
    names: dict[str, Any] = getattr(code, "__globals__", {})
    return str(names.get("__name__") or type(code).__module__)


def _problems(found: Environment, files: list[Path], failure: Exception | None) -> Iterator[str]:
    if found.wish == "off":
        yield f"{switches.VARIABLE} switches continuation off, whatever the code says. Unset it."
    elif found.wish == "unknown":
        known = ", ".join([*switches.ON, switches.STRICT, *switches.OFF])
        yield f"{switches.VARIABLE}: got {switches.word()!r}, accepted are {known}."
    errors = [each.error for each in found.variables if each.error is not None]
    yield from errors
    for name in ("openai", "wrapt"):
        if found.packages[name] is None:
            yield f"{name} is not installed in this environment: pip install {_OURS}"
    if found.packages["openai"] is not None and not found.patched:
        yield from _unsupported(found)
    if failure is not None and str(failure) not in errors and getattr(failure, "name", None) not in ("openai", "wrapt"):
        yield f"openai could not be patched: {type(failure).__name__}: {failure}"
    if found.is_asked and not found.patched and not found.line_read:
        yield f"{switches.VARIABLE} is set, but {_why_unread(found, files)}. {_ELSE}"
    if found.is_asked and found.is_unknown:
        yield _unknown_host(found)


def _unknown_host(found: Environment) -> str:
    return (
        f"{found.host} is in no row of the provider table; its answers are left as they are. Name its row in "
        f"{switches.VARIABLE}_PROVIDER. openai-continue doctor --base-url URL --model MODEL finds it out."
    )


def _why_unread(found: Environment, files: list[Path]) -> str:
    """Return why Python has not read the file that switches continuation on."""
    if found.frozen:
        return f"no {_LINE} is read in a frozen program"
    if "-S" in found.flags:
        return f"python -S reads no {_LINE}"
    if not files:
        return f"there is no {_LINE} in {', '.join(map(str, _site_folders()))}"
    if not _is_in_site(files):
        return f"{files[0]} is not read, since Python takes its folder for no site-packages"
    return f"{files[0]} was not read; was the variable set when Python started?"


def _notes(found: Environment, files: list[Path]) -> Iterator[str]:
    if found.patched:
        yield from _unsupported(found)
    ours = [modules for modules in found.wrappers.values() if "openai_continue" in modules]
    if found.patched and any(modules[0] != "openai_continue" for modules in ours):
        yield "Another library has wrapped our wrapper. That works; unpatch() leaves ours in place, without effect."
    if found.line_read is False and found.wish == "not set":
        yield f"{switches.VARIABLE}=1 would do nothing, for {_why_unread(found, files)}. {_ELSE}"
    if found.host is None and found.provider is None:
        yield "OPENAI_BASE_URL is not set. Each client's base_url decides; answers of api.openai.com are not continued."
    elif found.is_unknown and found.wish == "not set":
        yield _unknown_host(found)
    elif found.host is not None and found.provider is not None and not found.continues:
        yield f"Answers of {found.host} cannot be continued; they are left as they are."
    if found.continues and not found.continues_responses:
        yield (
            f"Answers at /responses, where openai-agents and others ask by default, are left as they are on the row "
            f"{found.provider}. Let your framework ask for chat completions."
        )


def _shown(found: Environment) -> Iterator[str]:
    """Give the lines that are printed."""
    packages = ", ".join(f"{name} {installed or 'is missing'}" for name, installed in found.packages.items())
    yield _row("Python", f"{' '.join([found.python, *found.flags])}, {found.executable}")
    yield _row("packages", f"{packages} (openai {found.supported or 'of any version'} is supported)")
    yield _row(switches.VARIABLE, found.wish)
    for each in found.variables:
        value = "" if each.value is None else f" = {each.value}"
        yield f"{each.name}{value}: {'good' if each.error is None else 'bad'}"
    read = {True: "read", False: "not read", None: "unknown whether it is read"}[found.line_read]
    yield _row(_LINE, f"{', '.join(found.lines) or 'missing'}: {read}")
    yield _row("patch()", "in force" if found.patched else "not in force")
    for chain in dict.fromkeys(tuple(modules) for modules in found.wrappers.values() if modules):
        methods = ", ".join(method for method, modules in found.wrappers.items() if tuple(modules) == chain)
        yield _row("wrapped by", f"{', then '.join(chain)}: {methods}")
    yield _row("OPENAI_BASE_URL", found.host or "not set")
    continues = {True: "continues", False: "does not continue"}
    yield _row("provider row", f"{found.provider} ({continues[found.continues]})" if found.provider else "none")
    here = f"; {found.provider} {continues[found.continues_responses]} there" if found.provider else ""
    yield _row("/responses", f"continued on the rows {', '.join(found.response_rows)}{here}")
    yield from (f"problem: {each}" for each in found.problems)
    yield from (f"note: {each}" for each in found.notes)
    if found.problems:
        yield "Continuation does not work here."
    else:
        yield "Continuation is on." if found.active else "Continuation is not on; patch() would switch it on."


def _row(name: str, text: str) -> str:
    return f"{name:19} {text}"
