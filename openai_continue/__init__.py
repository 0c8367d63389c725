"""
A drop-in extension of the OpenAI Python SDK that makes truncated answers whole.

    import openai_continue; openai_continue.patch()

Importing this package costs nothing: names are loaded at their first use.
"""

from __future__ import annotations

# Type checkers know the name; importing the module typing would cost more than the rest of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .clients import AsyncOpenAI, OpenAI
    from .errors import SettingsError
    from .patching import is_patched, patch, unpatch
    from .report import ErrorReport, PromptTokens, Report, Round, SeamReport, report_of
    from .settings import Continuation
    from .switches import disabled

    __version__: str

_HOMES = {
    "AsyncOpenAI": "clients",
    "Continuation": "settings",
    "ErrorReport": "report",
    "OpenAI": "clients",
    "PromptTokens": "report",
    "Report": "report",
    "Round": "report",
    "SeamReport": "report",
    "SettingsError": "errors",
    "disabled": "switches",
    "is_patched": "patching",
    "patch": "patching",
    "report_of": "report",
    "unpatch": "patching",
}

__all__ = [
    "AsyncOpenAI",
    "Continuation",
    "ErrorReport",
    "OpenAI",
    "PromptTokens",
    "Report",
    "Round",
    "SeamReport",
    "SettingsError",
    "disabled",
    "is_patched",
    "patch",
    "report_of",
    "unpatch",
]


# Hidden from type checkers, which would take each misspelt name for one that it finds.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("openai-continue")
        if name in _HOMES:
            from importlib import import_module

            return getattr(import_module(f".{_HOMES[name]}", __name__), name)
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
