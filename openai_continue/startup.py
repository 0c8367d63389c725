"""
Activation by ``OPENAI_CONTINUE=1``, called at the start of every Python by ``openai_continue.pth`` (or ``.start``).

Stdlib only, and nothing but a look at one variable where it is unset. An interpreter is never broken by it: what goes
wrong is one line on stderr, or an exception where the variable says ``strict``.
"""

from __future__ import annotations

import os
import sys

# Type checkers know the name; the module typing would be the dearest part of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_SWITCH = "OPENAI_CONTINUE"
_OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on", "strict")
#: Once this is imported, everything that is wrapped is there.
_TARGET = "openai"
#: What has been said already: in a virtual environment .pth files are read twice.
_complaints: set[str] = set()


def init() -> None:
    """Patch the SDK if the environment wishes it, at once or as soon as it is imported; idempotent."""
    wish = os.environ.get(_SWITCH, "").strip().lower()
    if wish in _OFF or sys.flags.ignore_environment or sys.flags.isolated:
        return
    if wish not in _ON:
        _complain(f"{_SWITCH}={wish!r}: accepted are {', '.join(_ON)} and {', '.join(_OFF[1:])}")
    elif _TARGET in sys.modules:
        _patch()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _patch() -> None:
    patching = sys.modules.get(f"{__package__}.patching")
    if patching is not None and not hasattr(patching, "patch"):
        # It is patching itself that imports the target; its last line calls init().
        return
    try:
        from .patching import patch

        patch()
    except Exception as error:
        if os.environ.get(_SWITCH, "").strip().lower() == "strict":
            raise
        _complain(f"{type(error).__name__}: {error}")


def _complain(what: str) -> None:
    if what not in _complaints:
        _complaints.add(what)
        print(f"openai_continue: {what}; openai is NOT patched", file=sys.stderr)  # noqa: T201


class _Finder:
    """Finds the target as the other finders do, and has it patched behind its import; then it is gone."""

    def __init__(self) -> None:
        self._busy = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if name != _TARGET or self._busy:
            return None
        # This finder stays in the list meanwhile: a thread that walks it would pass over the one behind.
        self._busy = True
        try:
            finders = [finder.find_spec for finder in sys.meta_path if hasattr(finder, "find_spec")]
            spec = next((found for find in finders if (found := find(name, path, target)) is not None), None)
        finally:
            self._busy = False
        if spec is None or spec.loader is None:
            return None
        loader: object = _Loader(spec.loader, self)
        spec.loader = loader  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        return spec


class _Loader:
    """Loads the target by its own loader, then patches."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See importlib.abc.Loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module as if this loader had not been there."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        # An import that failed is tried again, and finds the finder still there.
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self._finder]
        _patch()

    def __getattr__(self, name: str) -> Any:
        # Who looks for the module without importing it may want its source or its data.
        return getattr(self._loader, name)
