"""The settings that come into force: a bad one is found when continuation is switched on, and not within a call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module

from .. import switches
from ..errors import SettingsError
from ..settings import Continuation


def settings_in_force(given: Continuation | None) -> Continuation | None:
    """
    Return the settings that code switches on: ``given``, else those of the environment. Raise SettingsError.

    Under the kill switch, a bad variable, or an SDK that lacks a part, is one line on stderr, and None is returned:
    nothing is switched on.
    """
    try:
        import_module(".private_parts", __package__)
        if given is None:
            return from_environment()
    except SettingsError as error:
        if not switches.killed():
            raise
        switches.complain(f"{error}; openai is NOT patched (openai-continue doctor --env says more)")
        return None
    _check_template(given)
    return given


def from_environment(variables: Mapping[str, str] | None = None) -> Continuation:
    """
    Return the settings of the environment. Raise SettingsError, with the name of the variable that is bad.

    ``variables``: those of this process by default.
    """
    settings = Continuation.from_env(variables)
    try:
        _check_template(settings)
    except SettingsError as error:
        msg = f"{switches.VARIABLE}_TEMPLATE={os.fspath(settings.template or '')!r}: {error}"
        raise SettingsError(msg) from None
    return settings


def _check_template(settings: Continuation) -> None:
    if settings.template is not None:
        # Imported only here, because it brings in the core.
        from .template_files import check

        check(settings.template)
