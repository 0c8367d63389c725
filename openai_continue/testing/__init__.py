"""
Tools for testing code that uses this library: an emulator of DeepInfra, and what can go wrong with it.

They need the extra ``testing``: starlette and uvicorn are imported when ``Emulator`` is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .emulator.faults import Fault
    from .emulator.habits import Habits
    from .emulator.ledger import Logged
    from .emulator.server import Emulator

__all__ = ["Emulator", "Fault", "Habits", "Logged"]

_HOMES = {
    "Emulator": "emulator.server",
    "Fault": "emulator.faults",
    "Habits": "emulator.habits",
    "Logged": "emulator.ledger",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        msg = f"{name} needs the module {error.name}. Install the extra: pip install 'openai-continue[testing]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
