"""Where chat templates come from: a file of the user's, or the model's own on the Hugging Face Hub."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from ..core.jsons import Json, as_object, as_string
from ..errors import SettingsError
from .chat_template import Template, compiled

logger = logging.getLogger("openai_continue")

#: The value of the setting that means the model's own template on the Hub.
AUTO = "auto"
_FILE, _CONFIG = "chat_template.jinja", "tokenizer_config.json"
_ACCEPTED = f"accepted are {AUTO!r} and the path of a chat template (.jinja), of a {_CONFIG}, or of a folder with one"


def template_of(setting: str | os.PathLike[str], model: str) -> Template | None:
    """
    Return the template that the setting names, or None if the Hub has none for the model. Raise SettingsError.

    ``setting``: "auto", the path of a template, of a tokenizer_config.json, or of a folder with one of them.
    """
    _check_installed(setting)
    if setting == AUTO:
        return _of_hub(model)
    path = Path(setting)
    return _of_path(path, _changed(path))


def check(setting: str | os.PathLike[str]) -> None:
    """Raise SettingsError if the setting names no template, or needs what is not installed. The Hub is not asked."""
    if setting == AUTO:
        _check_installed(setting)
    else:
        template_of(setting, model="")


def _check_installed(setting: str | os.PathLike[str]) -> None:
    needed = ("jinja2", "huggingface_hub") if setting == AUTO else ("jinja2",)
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        msg = f"template={os.fspath(setting)!r} needs {missing[0]}: pip install 'openai-continue[template]'"
        raise SettingsError(msg)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@lru_cache(maxsize=32)
def _of_path(path: Path, changed: float) -> Template:  # noqa: ARG001 - a file that was changed is read again
    source = path / _FILE if path.is_dir() else path
    config = source.parent / _CONFIG
    try:
        known = _object(config.read_text("utf-8")) if config.is_file() else {}
        is_config = source == config or (path.is_dir() and not source.is_file())
        text = _template_in(known) if is_config else source.read_text("utf-8")
    except (OSError, ValueError) as error:
        msg = f"template: {os.fspath(path)!r} cannot be read ({type(error).__name__}); {_ACCEPTED}"
        raise SettingsError(msg) from None
    if not text:
        msg = f"template: {os.fspath(path)!r} has no chat template; {_ACCEPTED}"
        raise SettingsError(msg)
    return _checked(Template(text, _tokens(known)), os.fspath(path))


def _checked(template: Template, name: str) -> Template:
    from jinja2 import TemplateError

    try:
        compiled(template.source)
    except TemplateError as error:
        msg = f"template: {name!r} is no Jinja template ({error}); {_ACCEPTED}"
        raise SettingsError(msg) from None
    return template


@lru_cache(maxsize=32)
def _of_hub(model: str) -> Template | None:
    read = {name: _downloaded(model, name) for name in (_FILE, _CONFIG)}
    try:
        known = _object(read[_CONFIG] or "{}")
        text = read[_FILE] or _template_in(known)
        if text:
            return _checked(Template(text, _tokens(known)), model)
    except (ValueError, SettingsError):
        pass
    logger.warning("the Hub has no chat template for %s; its answers are continued without one", model)
    return None


def _downloaded(model: str, name: str) -> str:
    """Return a file of a model, or "" if it cannot be had: it is not there, gated, or there is no network."""
    hub: Any = import_module("huggingface_hub")
    try:
        return Path(str(hub.hf_hub_download(model, name))).read_text("utf-8")
    except Exception as error:
        logger.info("the Hub gave no %s for %s (%s)", name, model, type(error).__name__)
        return ""


def _object(text: str) -> Json:
    value = as_object(json.loads(text))
    if value is None:
        raise ValueError
    return value


def _template_in(config: Mapping[str, Any]) -> str:
    """Return the template in a tokenizer_config.json; of several, the default one."""
    found: object = config.get("chat_template")
    if isinstance(found, list):
        several = [as_object(item) or {} for item in cast("list[object]", found)]
        found = next((item.get("template") for item in several if item.get("name") == "default"), None)
    return as_string(found) or ""


def _tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens in a tokenizer_config.json, each a string or an object with its content."""
    named = {name: as_string((as_object(value) or {}).get("content", value)) for name, value in config.items()}
    return {name: text for name, text in named.items() if name.endswith("_token") and text is not None}
