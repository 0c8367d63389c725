"""
Activation by ``OPENAI_CONTINUE=1``, called at the start of Python by ``openai_continue.pth`` (or ``.start``).

The line of the ``.pth`` looks at the variable, and imports this module only if it is set. This module imports only the
stdlib and the words of the variable. It never breaks an interpreter: if something goes wrong, it prints one line on
stderr, or raises the error if the variable says ``strict``.
"""

from __future__ import annotations

import sys

from .switches import OFF, ON, STRICT, VARIABLE, complain, is_strict, word

# Type checkers know the name; importing the module typing would cost more than the rest of this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_WORDS = (*ON, STRICT)
#: Once this is imported, everything that is wrapped is there.
_TARGET = "openai"
_PATCHING = f"{__package__}.patching"


def init() -> None:
    """Patch the SDK if the environment says so, now or as soon as the SDK is imported; idempotent."""
    # Also under python -E and -I, with which pipx and pex --venv start every application. -E is about the variables
    # PYTHON*. -I keeps out code from the current folder, the user's own folder and those variables. OPENAI_CONTINUE
    # brings in no code from elsewhere: it switches on what is installed in the environment itself, whose .pth files
    # Python reads under both. The SDK reads its variables under both, too.
    wish = word()
    if not wish or wish in OFF:
        return
    if wish not in _WORDS:
        _not_patched(f"{VARIABLE}={wish!r}: accepted are {', '.join(_WORDS)} and {', '.join(OFF)}")
    elif _TARGET in sys.modules:
        _patch()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _patch() -> None:
    try:
        from .patching import patch

        patch()
    except Exception as error:
        if is_strict():
            raise
        _not_patched(f"{type(error).__name__}: {error}")


def _not_patched(why: str) -> None:
    # Once: in a virtual environment .pth files are read twice.
    complain(f"{why}; openai is NOT patched (openai-continue doctor --env says more)")


class _Finder:
    """
    Finds the SDK as the other finders do, and patches it after its import; then removes itself.

    It waits for ``patching`` too. If that is imported first, it imports the SDK, and ``patch()`` is there only after
    its own import.
    """

    def __init__(self) -> None:
        self._busy = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if name not in (_TARGET, _PATCHING) or self._busy:
            return None
        # Stay in sys.meta_path: removing ourselves would make a concurrent import skip the next finder.
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

    def loaded(self) -> None:
        """Patch, unless the SDK was imported by ``patching``, which is then still being loaded."""
        patching = sys.modules.get(_PATCHING)
        if patching is None or hasattr(patching, "patch"):
            # Not before: an import that failed is tried again, and must find the finder still there.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
            _patch()


class _Loader:
    """Loads a module by its own loader, then tells the finder."""

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
        self._finder.loaded()

    def __getattr__(self, name: str) -> Any:
        # Code that looks for the module without importing it may want its source or its data.
        return getattr(self._loader, name)
