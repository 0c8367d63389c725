"""Importing this module patches the SDK. ``OPENAI_CONTINUE=0`` still wins, call by call."""

from __future__ import annotations

from .patching import patch

patch()
