"""The errors of this library itself. All other errors that reach a caller are the SDK's own."""

from __future__ import annotations


class SettingsError(ValueError):
    """
    A setting cannot be used: an unknown name, or a value of the wrong type or range. It is a ValueError.

    The message says what came and what is accepted. It is also raised where the installed SDK lacks a part that this
    library relies on.
    """
