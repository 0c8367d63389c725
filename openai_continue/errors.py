"""The errors that this library raises by itself; all others are the SDK's own."""

from __future__ import annotations


class SettingsError(ValueError):
    """
    A setting that cannot be used.

    The message names what came and what is accepted.
    """
