"""Where chat templates come from: a file of the user's, or the model's own on the Hugging Face Hub."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar, cast

from .._core.json import Json, as_object, as_string
from ..errors import SettingsError
from .chat_template import Template, compiled

logger = logging.getLogger("openai_continue")

_T = TypeVar("_T")

#: The value of the setting that means the model's own template on the Hub.
AUTO = "auto"
# The files of a model: of the templates beside the default one, engines take that for tools by themselves. The last
# one is that of older models for images.
_FILE, _CONFIG = "chat_template.jinja", "tokenizer_config.json"
_TOOL_USE, _OLD = "additional_chat_templates/tool_use.jinja", "chat_template.json"
_FILES = (_FILE, _CONFIG, _TOOL_USE, _OLD)
_ACCEPTED = f"accepted are {AUTO!r} and the path of a chat template (.jinja), of a {_CONFIG}, or of a folder with one"
# Most characters of a file, and of a template. The longest known have a million, and 40,000.
_LONGEST, _LONGEST_TEMPLATE = 16_000_000, 100_000
# Seconds until the Hub must answer, and until its files must have come.
_PATIENCE, _LONG_PATIENCE = 1.0, 10.0
# A look that found nothing is not repeated for this many times as long as it took.
_PAUSE = 60


def template_of(setting: str | os.PathLike[str], model: str) -> Template | None:
    """
    Return the template that the setting names, or None if the Hub has none for the model. Raise SettingsError.

    ``setting``: "auto", the path of a template, of a tokenizer_config.json, or of a folder with one of them.
    """
    _check_installed(setting)
    if setting == AUTO:
        with _hub_lock:
            look = _of_hub(model)
        return look.template()
    path = Path(setting)
    return _of_path(path, tuple(_changed(file) for file in (path, path.parent / _CONFIG, *map(path.joinpath, _FILES))))


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


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        known = path.stat()
    except (OSError, ValueError):
        return None
    return known.st_mtime_ns, known.st_size


@lru_cache(maxsize=32)
def _of_path(path: Path, changed: object) -> Template:  # noqa: ARG001 - a file that was changed is read again
    file = path
    try:
        if path.is_dir():
            texts: dict[str, str] = {}
            for name in _FILES:
                file = path / name
                texts[name] = _read(file) if file.is_file() else ""
            file = path
            template = _of_files(texts)
        else:
            text = _read(path)
            file = path.parent / _CONFIG
            tokens = _tokens(_object(_read(file))) if file.is_file() else {}
            file = path
            template = _named(_templates_in(_object(text)) if path.suffix == ".json" else {"default": text}, tokens)
    except (OSError, ValueError) as error:
        where = "" if file == path else f"{file.relative_to(path.parent)}: "
        msg = f"template: {os.fspath(path)!r} cannot be read: {where}{_reason(error)}; {_ACCEPTED}"
        raise SettingsError(msg) from None
    if template is None:
        msg = f"template: {os.fspath(path)!r} has no chat template; {_ACCEPTED}"
        raise SettingsError(msg)
    return _checked(template, os.fspath(path))


def _read(path: Path) -> str:
    """Return the text of a file. Raise OSError or ValueError if it has none."""
    if path.exists() and not path.is_file():
        # A pipe would wait for somebody to write.
        msg = "it is no file"
        raise ValueError(msg)
    with path.open(encoding="utf-8") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        msg = f"it has more than {_LONGEST} characters"
        raise ValueError(msg)
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON ({error})"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _checked(template: Template, name: str) -> Template:
    """Return the template. Raise SettingsError if it is none: what was read at ``name`` may be any text."""
    longest = max(len(template.source), len(template.tool_use))
    if longest > _LONGEST_TEMPLATE:
        msg = f"template: {name!r} has {longest} characters, accepted are {_LONGEST_TEMPLATE} at most"
        raise SettingsError(msg)
    try:
        compiled(template.source)
        compiled(template.tool_use)
    except Exception as error:
        # Besides errors of syntax, jinja2 and Python raise others for what is nested too deep.
        msg = f"template: {name!r} is no Jinja template ({str(error) or type(error).__name__}); {_ACCEPTED}"
        raise SettingsError(msg) from None
    return template


# The Hub.


class _Look:
    """
    The look for the template of one model on the Hub, one at a time.

    What was found is kept. What was not is looked for again: there may have been no network.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = Lock()
        self._found: Template | None = None
        self._again_at = 0.0
        self._has_said = False

    def template(self) -> Template | None:
        """Return the template, or None if it was not found."""
        with self._lock:
            began = time.monotonic()
            if self._found is None and began >= self._again_at:
                self._found = self._searched()
                ended = time.monotonic()
                self._again_at = ended + _PAUSE * (ended - began)
            return self._found

    def _searched(self) -> Template | None:
        try:
            found = _of_files(_downloaded(self._model))
            if found is not None:
                return _checked(found, self._model)
        except (ValueError, SettingsError) as error:
            logger.info("the chat template of %s on the Hub cannot be used (%s)", self._model, type(error).__name__)
        if not self._has_said:
            self._has_said = True
            logger.warning(
                "the Hub has no chat template for %s, or cannot be reached; its answers are continued without one",
                self._model,
            )
        return None


@lru_cache(maxsize=32)
def _of_hub(model: str) -> _Look:
    return _Look(model)


# Two threads that ask at once are to look together.
_hub_lock = Lock()


def _downloaded(model: str) -> dict[str, str]:
    """
    Return the files of a model, each "" if it is not there or gated, or if there is no network.

    huggingface_hub goes on trying for half a minute, so it is asked whether the Hub answers at all. If not, its files
    of an earlier time are taken.
    """
    hub: Any = import_module("huggingface_hub")
    probe = _started(partial(_answers, hub, model))
    wait([probe], _PATIENCE)
    options = {} if probe.done() and probe.result() else {"local_files_only": True}
    files = {name: _started(partial(_file_of, hub, model, name, options)) for name in _FILES}
    wait(files.values(), _LONG_PATIENCE)
    return {name: file.result() if file.done() else "" for name, file in files.items()}


def _answers(hub: Any, model: str) -> bool:
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(model, _FILE), timeout=_PATIENCE)
    except Exception as error:
        # An error that the Hub has answered is an answer. A version without this question may be asked for files.
        return getattr(error, "response", None) is not None or isinstance(error, AttributeError)
    return True


def _file_of(hub: Any, model: str, name: str, options: Mapping[str, Any]) -> str:
    try:
        return _read(Path(str(hub.hf_hub_download(model, name, **options))))
    except Exception as error:
        logger.info("the Hub gave no %s for %s (%s)", name, model, type(error).__name__)
        return ""


def _started(function: Callable[[], _T]) -> Future[_T]:
    """Return the result to come of a function that runs in a thread of its own, which no exit waits for."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


# What is in the files.


def _of_files(texts: Mapping[str, str]) -> Template | None:
    """Return the template in the files of a model, or None. Raise ValueError if one of them is no JSON."""
    config = _object(texts[_CONFIG] or "{}")
    if texts[_FILE] or texts[_TOOL_USE]:
        # As with transformers, files win over what is in the configuration.
        return _named({"default": texts[_FILE], "tool_use": texts[_TOOL_USE]}, _tokens(config))
    named = _templates_in(config) or _templates_in(_object(texts[_OLD] or "{}"))
    return _named(named, _tokens(config))


def _named(templates: Mapping[str, str], tokens: Mapping[str, str]) -> Template | None:
    source, tool_use = (templates.get(name, "") for name in ("default", "tool_use"))
    return Template(source, tokens, tool_use) if source or tool_use else None


def _object(text: str) -> Json:
    value = as_object(json.loads(text))
    if value is None:
        msg = "it is no JSON object"
        raise ValueError(msg)
    return value


def _templates_in(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the templates in a configuration by their names; one without a name is the default one."""
    found: object = config.get("chat_template")
    if isinstance(found, list):
        listed = [as_object(item) or {} for item in cast("list[object]", found)]
        found = {str(item.get("name")): item.get("template") for item in listed}
    named = {"default": found} if isinstance(found, str) else as_object(found) or {}
    return {name: text for name, text in named.items() if isinstance(text, str)}


def _tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens in a tokenizer_config.json, each a string or an object with its content."""
    named = {name: as_string((as_object(value) or {}).get("content", value)) for name, value in config.items()}
    return {name: text for name, text in named.items() if name.endswith("_token") and text is not None}
