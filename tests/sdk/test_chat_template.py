"""Chat templates: the files they come from, what they render, and what they may not do."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib import util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from openai_continue import SettingsError
from openai_continue._sdk import chat_template, template_files
from openai_continue._sdk.chat_template import Template
from openai_continue._sdk.template_files import template_of
from tests.core.test_templates import MODELS, TEXT, THOUGHTS, begun

TEMPLATES = Path(__file__).parent.parent / "templates"
DAY = datetime(2026, 1, 2, 3, 4)
TURN = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


def rendered(text: str, body: dict[str, Any] | None = None, **tokens: str) -> str | None:
    """Return the prompt that a template makes of a request."""
    made = Template(text, tokens).render({"messages": [{"role": "user", "content": "Hi"}], **(body or {})}, DAY)
    return None if made is None else made.prompt


# Files.


def config(path: Path, **fields: Any) -> Path:
    path.write_text(json.dumps(fields), "utf-8")
    return path


def test_files(tmp_path: Path) -> None:
    """A template is read from its file, from the configuration of a tokenizer, and from a folder with either."""
    jinja = tmp_path / "chat_template.jinja"
    jinja.write_text("one {{ bos_token }}", "utf-8")
    assert Template("one {{ bos_token }}", {}) == template_of(jinja, "m") == template_of(str(tmp_path), "m")

    known = config(tmp_path / "tokenizer_config.json", chat_template="two", bos_token="<s>", eos_token={"content": "</s>", "lstrip": False}, pad_token=None, model_max_length=5)  # fmt: skip
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    assert Template("two", tokens) == template_of(known, "m")
    # The file beside it wins, as with transformers.
    os.utime(jinja, (1, 1))
    assert Template("one {{ bos_token }}", tokens) == template_of(jinja, "m")
    os.utime(tmp_path, (2, 2))
    assert Template("one {{ bos_token }}", tokens) == template_of(tmp_path, "m")
    jinja.unlink()
    os.utime(tmp_path, (3, 3))
    assert Template("two", tokens) == template_of(tmp_path, "m")


DEFAULT, FOR_TOOLS = "default{{ messages[0].content }}", "tools{{ messages[0].content }}"
SEVERAL = [{"name": "tool_use", "template": FOR_TOOLS}, {"name": "rag", "template": "rag"}, {"name": "default", "template": DEFAULT}]  # fmt: skip


def _extra(path: Path, **named: str) -> Path:
    (path / "additional_chat_templates").mkdir()
    for name, text in named.items():
        (path / "additional_chat_templates" / f"{name}.jinja").write_text(text, "utf-8")
    return path


#: Folders with several templates: what makes them, and the prompts without tools and with them.
NAMED: dict[str, tuple[Any, str | None, str]] = {
    "a list": (lambda path: config(path / "tokenizer_config.json", chat_template=SEVERAL), "defaultHi", "toolsHi"),
    "an object": (lambda path: config(path / "tokenizer_config.json", chat_template={"default": DEFAULT, "tool_use": FOR_TOOLS}), "defaultHi", "toolsHi"),
    "a list without one for tools": (lambda path: config(path / "tokenizer_config.json", chat_template=SEVERAL[1:]), "defaultHi", "defaultHi"),
    "a list with one for tools only": (lambda path: config(path / "tokenizer_config.json", chat_template=SEVERAL[:1]), None, "toolsHi"),
    "files": (lambda path: _file(_extra(path, tool_use=FOR_TOOLS, rag="no") / "chat_template.jinja", DEFAULT.encode()), "defaultHi", "toolsHi"),
    "a file for tools only": (lambda path: _extra(path, tool_use=FOR_TOOLS), None, "toolsHi"),
    "a file beside a list": (lambda path: (config(path / "tokenizer_config.json", chat_template=SEVERAL), _file(path / "chat_template.jinja", b"file{{ messages[0].content }}")), "fileHi", "fileHi"),
    "an old file": (lambda path: config(path / "chat_template.json", chat_template=DEFAULT), "defaultHi", "defaultHi"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_several_by_name(kind: str, tmp_path: Path) -> None:
    """Of several templates, that for tools is taken if the request has any, else the default one; as engines do."""
    make, without, with_tools = NAMED[kind]
    make(tmp_path)
    template = template_of(tmp_path, "m")
    assert template is not None
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    for tools, prompt in ((None, without), ([{"type": "function"}], with_tools)):
        made = template.render({**body, "tools": tools}, DAY)
        assert prompt == (None if made is None else made.prompt)


def test_a_named_configuration(tmp_path: Path) -> None:
    """A configuration that the setting names itself is read as a folder's."""
    path = config(tmp_path / "tokenizer_config.json", chat_template=SEVERAL, bos_token="<s>")
    assert Template(DEFAULT, {"bos_token": "<s>"}, FOR_TOOLS) == template_of(path, "m")
    old = config(tmp_path / "chat_template.json", chat_template="old")
    assert Template("old", {"bos_token": "<s>"}) == template_of(old, "m")


def test_a_file_that_changes(tmp_path: Path) -> None:
    """A file that has changed is read again."""
    path = tmp_path / "x.jinja"
    for number in range(2):
        path.write_text(f"number {number}", "utf-8")
        os.utime(path, (number, number))
        assert f"number {number}" == getattr(template_of(path, "m"), "source", None)


def test_a_folder_that_changes(tmp_path: Path) -> None:
    """So is a file in a folder, though the folder looks the same."""
    path = _file(tmp_path / "chat_template.jinja", b"one")
    os.utime(tmp_path, (1, 1))
    assert Template("one") == template_of(tmp_path, "m")
    path.write_text("another", "utf-8")
    os.utime(tmp_path, (1, 1))
    assert Template("another") == template_of(tmp_path, "m")


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _pipe(path: Path) -> Path:
    os.mkfifo(path / "x.jinja")
    return path / "x.jinja"


def _huge(path: Path) -> Path:
    with (path / "tokenizer_config.json").open("wb") as file:
        file.truncate(20_000_000_000)
    return path


def _beside(path: Path) -> Path:
    _file(path / "tokenizer_config.json", b"{")
    return _file(path / "x.jinja", b"x")


BAD: dict[str, Any] = {
    "missing": lambda path: path / "x.jinja",
    "missing beside a folder": lambda path: path / "no" / "chat_template.jinja",
    "folder without one": lambda path: path,
    "no Jinja": lambda path: _file(path / "x.jinja", b"{% for x in %}"),
    "an unknown tag": lambda path: _file(path / "x.jinja", b"{% nonsense %}"),
    "empty": lambda path: _file(path / "x.jinja", b""),
    "binary": lambda path: _file(path / "x.jinja", b"\xff\xfe\x00\x80"),
    "no JSON": lambda path: _file(path / "tokenizer_config.json", b"{"),
    "JSON that is no object": lambda path: _file(path / "tokenizer_config.json", b"[]"),
    "JSON without a template": lambda path: config(path / "tokenizer_config.json", bos_token="x"),
    "several without a default": lambda path: config(path / "tokenizer_config.json", chat_template=[{"name": "rag"}]),
    "a template beside JSON that is none": _beside,
    "a pipe": _pipe,
    "a device": lambda _: Path("/dev/zero"),
    "huge": _huge,
    "too long": lambda path: _file(path / "x.jinja", b"x" * 100_001),
    "nested too deep": lambda path: _file(path / "x.jinja", b"{{ " + b"(" * 9999 + b" }}"),
    "more loops than Python has": lambda path: _file(path / "x.jinja", b"{% for a in b %}" * 30 + b"{% endfor %}" * 30),
    "a path with a NUL": lambda path: path / "a\0b",
    "a path that is too long": lambda path: path / ("x" * 9999),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_files(bad: str, tmp_path: Path) -> None:
    """What is no template is an error that names the path and what is accepted."""
    path = BAD[bad](tmp_path)
    with pytest.raises(SettingsError) as raised:
        template_of(path, "m")
    assert repr(str(path))[1:-1] in str(raised.value)
    assert "accepted are" in str(raised.value)


@pytest.mark.parametrize(
    ("setting", "missing"), [("x.jinja", "jinja2"), ("auto", "jinja2"), ("auto", "huggingface_hub")]
)
def test_not_installed(setting: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is named, with the command that installs it."""
    found = util.find_spec
    monkeypatch.setattr(template_files, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(SettingsError, match=rf"needs {missing}: pip install 'openai-continue\[template\]'"):
        template_of(setting, "m")


# The Hub.


class Hub(ModuleType):
    """``huggingface_hub`` without a network. ``is_there``: whether the Hub answers."""

    def __init__(self, folder: Path, **files: str) -> None:
        super().__init__("huggingface_hub")
        self.asked: list[tuple[str, str]] = []
        self.threads: set[int] = set()
        self.is_there = True
        self.delay = 0.0
        self._folder, self._files = folder, files

    def hf_hub_url(self, model: str, name: str) -> str:
        return f"https://hub/{model}/{name}"

    def get_hf_file_metadata(self, url: str, *, timeout: float) -> None:
        self.threads.add(threading.get_ident())
        assert timeout <= 1
        time.sleep(self.delay)
        if not self.is_there:
            msg = f"https://secret@hub: {url}"
            raise OSError(msg)

    def hf_hub_download(self, model: str, name: str, *, local_files_only: bool = False) -> str:
        self.threads.add(threading.get_ident())
        self.asked.append((model, name))
        key = name.rpartition("/")[2].partition(".")[0]
        if key not in self._files or (local_files_only and key != "cached"):
            msg = f"https://secret@hub/{model}"
            raise OSError(msg)
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(self._files[key], "utf-8")
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what puts files on the Hub."""
    template_files._of_hub.cache_clear()

    def put(**files: str) -> Hub:
        made = Hub(tmp_path, **files)
        monkeypatch.setitem(sys.modules, "huggingface_hub", made)
        monkeypatch.setattr(template_files, "find_spec", lambda _: True)
        return made

    yield put
    template_files._of_hub.cache_clear()


#: The files that the Hub is asked for.
FILES = ["additional_chat_templates/tool_use.jinja", "chat_template.jinja", "chat_template.json", "tokenizer_config.json"]  # fmt: skip


def test_hub(hub: Any) -> None:
    """ "auto" is the model's own template, with its tokens; it is asked for once."""
    made = hub(chat_template="from a file", tokenizer_config='{"bos_token": "<s>", "chat_template": "no"}')
    for _ in range(2):
        assert Template("from a file", {"bos_token": "<s>"}) == template_of("auto", "org/model")
    assert [("org/model", name) for name in FILES] == sorted(made.asked)


def test_hub_with_one_for_tools(hub: Any) -> None:
    """A second template, for tools, is taken from the Hub too."""
    hub(chat_template="default", tool_use="for tools")
    assert Template("default", {}, "for tools") == template_of("auto", "org/model")


def test_hub_with_a_configuration(hub: Any) -> None:
    """Older models have it in the configuration of their tokenizer."""
    hub(tokenizer_config='{"chat_template": "within"}')
    assert Template("within", {}) == template_of("auto", "org/model")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"tokenizer_config": "{}"},
        {"tokenizer_config": "no JSON"},
        {"chat_template": "{% for %}"},
        {"tokenizer_config": "[]"},
    ],
    ids=["nothing", "no template", "no JSON", "no Jinja", "no object"],
)
def test_hub_without_a_template(files: dict[str, str], hub: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A model without a template is said once, and goes on without one: the Hub is not the user's to mend."""
    hub(**files)
    for _ in range(2):
        assert template_of("auto", "org/model") is None
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "the Hub has no chat template for org/model" in record.getMessage()
    assert "secret" not in caplog.text


def test_a_hub_that_fails_once(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is not remembered for longer than sixty times as long as it took; what was found is kept."""
    now = [1000.0]
    made = hub(chat_template="found")
    monkeypatch.setattr(template_files, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def fail(*_: object, **__: object) -> None:
        now[0] += 1
        raise OSError

    monkeypatch.setattr(made, "get_hf_file_metadata", fail)
    assert template_of("auto", "org/model") is None
    now[0] += 59
    asked = len(made.asked)
    assert template_of("auto", "org/model") is None
    assert asked == len(made.asked)
    now[0] += 2
    monkeypatch.setattr(made, "get_hf_file_metadata", lambda *_, **__: None)
    assert Template("found") == template_of("auto", "org/model")
    made.is_there = False
    assert Template("found") == template_of("auto", "org/model")


def test_a_hub_that_does_not_answer(hub: Any) -> None:
    """Without an answer, no more than a second is waited."""
    made = hub(chat_template="found")
    made.delay = 30
    began = time.monotonic()
    assert template_of("auto", "org/model") is None
    assert time.monotonic() - began < 25


def test_a_copy_of_an_earlier_time(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, the files that an earlier look has left on the disk are taken."""
    made = hub(cached="old")
    made.is_there = False
    monkeypatch.setattr(template_files, "_FILES", ("cached.jinja", *template_files._FILES))
    monkeypatch.setattr(template_files, "_FILE", "cached.jinja")
    assert Template("old") == template_of("auto", "org/model")


def test_one_look_at_a_time(hub: Any) -> None:
    """Threads that ask at once make one look."""
    made = hub(chat_template="found")
    made.delay = 0.2
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: template_of("auto", "org/model"), range(8)))
    assert [Template("found")] * 8 == found
    assert len(FILES) == len(made.asked)


def test_what_the_hub_is_remembered_for_is_bounded(hub: Any) -> None:
    """However many models are asked for, few are kept."""
    hub()
    for number in range(100):
        template_of("auto", f"org/model-{number}")
    assert template_files._of_hub.cache_info().currsize <= 32


# What a template renders.


def test_messages() -> None:
    """Messages are as engines give them to templates: content as text, arguments as objects, our own key for today."""
    assert rendered(TURN, bos_token="<s>") == "<s>[user]Hi[assistant]"
    parts = [{"type": "text", "text": "One"}]
    assert rendered(TURN, {"messages": [{"role": "user", "content": parts}]}) == "[user]One[assistant]"
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"é": [1, "<&>"]}'}}
    calls = {
        "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "x"}]
    }
    assert rendered("{{ messages[0].tool_calls[0].function.arguments | tojson }}", calls) == '{"é": [1, "<&>"]}'
    assert rendered("{{ messages[0].tool_calls[0].function.arguments.keys() | first }}", calls) == "é"
    call["function"] = {"name": "f", "arguments": "no JSON"}
    assert rendered("{{ messages[0].tool_calls[0].function.arguments }}", calls) == "no JSON"


@pytest.mark.parametrize(
    ("template", "body", "prompt"),
    [
        ("{{ tools | tojson }}", {"tools": [{"a": "<b>'é'"}]}, '[{"a": "<b>\'é\'"}]'),
        ("{{ tools | tojson(indent=1) }}", {"tools": [1]}, "[\n 1\n]"),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", {}, '{"a": 2, "b": 1}'),
        ("{{ 'é' | tojson(ensure_ascii=true) }}", {}, '"\\u00e9"'),
        ("{{ strftime_now('%d %b %Y') }}", {}, "02 Jan 2026"),
        ("{{ strftime_now is defined }}", {}, "True"),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", {}, "13"),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", {}, "1"),
        ("a{% generation %}b{% endgeneration %}{%- generation -%}c{%- endgeneration -%}", {}, "abc"),
        ("  {% if true %}\n  x\n  {% endif %}\ny", {}, "  x\ny"),
        ("{{ enable_thinking }}", {"chat_template_kwargs": {"enable_thinking": False}}, "False"),
        ("{{ reasoning_effort }}", {"reasoning_effort": "low"}, "low"),
        ("{{ reasoning_effort is defined }}", {}, "False"),
        ("{{ documents[0].text }}", {"documents": [{"text": "d"}]}, "d"),
        ("{{ add_generation_prompt }}", {}, "True"),
        ("{{ bos_token + 'x' }}", {}, "x"),
        ("{{ raise_exception.__globals__ }}", {}, ""),
    ],
)
def test_environment(template: str, body: dict[str, Any], prompt: str) -> None:
    """Templates find what ``transformers`` gives them."""
    assert prompt == rendered(template, body)


def test_tokens_that_are_not_known(caplog: pytest.LogCaptureFixture) -> None:
    """The server can begin a text itself; what ends a turn must be known if the prompt has one."""
    template = TURN.replace("{{ m.content }}", "{{ m.content + eos_token }}")
    assert rendered(template, bos_token="<s>", eos_token="</s>") == "<s>[user]Hi</s>[assistant]"
    assert rendered(template, eos_token="</s>") == "[user]Hi</s>[assistant]"
    assert rendered(template, bos_token="<s>") is None
    assert "tokenizer_config.json" in caplog.text
    assert rendered(TURN + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}") == "[user]Hi[assistant]"


def test_the_day_is_pinned() -> None:
    """Every round renders the day of the first one."""
    made = Template("{{ strftime_now('%H:%M') }}")
    assert {getattr(made.render({"messages": [{"role": "user", "content": str(n)}]}, DAY), "prompt", "") for n in range(3)} == {"03:04"}  # fmt: skip


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ strftime_now.__self__.__class__.__mro__[1].__subclasses__() }}",
        "{% set _ = messages.append(1) %}",
        "{{ self.__init__.__globals__ }}",
        "{% include '/etc/passwd' %}",
        "{{ raise_exception('roles must alternate') }}",
        "{{ 1 // 0 }}",
        "{{ no_such.thing }}",
    ],
)
def test_sandbox(template: str, caplog: pytest.LogCaptureFixture) -> None:
    """A template that wants out, changes the messages, or fails, renders nothing; what it said is not logged."""
    assert rendered(template) is None
    (record,) = caplog.records
    assert "the chat template could not be rendered" in record.getMessage()
    assert "alternate" not in caplog.text


#: Templates that do not come to an end, or make more than fits into memory, by what they do it.
ENDLESS = {
    "a product": "{{ 'a' * 10**10 }}",
    "a power": "{{ 2 ** (10**10) }}",
    "a list": "{{ [1] * 10**10 }}",
    "a list of texts": "{{ ['a' * 10**6] * 10**6 }}",
    "a width of a format": "{{ '{:>10000000000}'.format(1) }}",
    "a width in a format": "{{ '{:{}}'.format(1, 10**10) }}",
    "a width of %": "{{ '%10000000000d' % 1 }}",
    "a width given to %": "{{ '%*d' % (10**10, 1) }}",
    "a width of the filter": "{{ '%*d' | format(10**10, 1) }}",
    "places in a format": "{{ ('%s' * 10**5) | format(*['a' * 10**6]) }}",
    "center": "{{ 'x' | center(10**10) }}",
    "center of a text": "{{ 'x'.center(10**10) }}",
    "zfill": "{{ 'x'.zfill(10**10) }}",
    "bytes": "{{ 'x'.encode().ljust(10**10) }}",
    "bytes of a number": "{{ (5).to_bytes(10**10, 'big') }}",
    "tabs": "{{ ('\t' * 10**6).expandtabs(10**6) }}",
    "indent": "{{ ('\n' * 10**6) | indent(10**6) }}",
    "replace": "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
    "the filter replace": "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
    "join": "{{ ('a' * 10**6).join(range(99999) | map('string')) }}",
    "the filter join": "{{ range(99999) | join('a' * 10**6) }}",
    "translate": "{{ ('a' * 10**6).translate({97: 'b' * 10**6}) }}",
    "wordwrap": "{{ ('a ' * 10**6) | wordwrap(1, wrapstring='y' * 10**6) }}",
    "batch": "{{ [1] | batch(10**10, 'x') | list }}",
    "JSON": "{{ messages | tojson(indent=10**10) }}",
    "words": "{{ lipsum(n=10**10) }}",
    "range": "{{ range(10**10) | list }}",
    "doubled by ~": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "doubled by +": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "doubled in a block": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
    "doubled in a list": "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "doubled in an object": "{% set n = namespace(x={}) %}{% for i in range(99) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}{{ n.x }}",
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops that skip": "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "loops that write": "{% for i in range(99999) %}{% for j in range(99999) %}text{% endfor %}{% endfor %}",
    "a loop in a block": "{% set x %}{% for i in range(99999) %}" + "text " * 9999 + "{% endfor %}{% endset %}",
    "sums": "{% for i in range(99999) %}{% if range(99999) | sum %}{% endif %}{% endfor %}",
    "searches": "{% set x = 'a' * 10**6 %}{% for i in range(99999) %}{% if 'b' in x %}{% endif %}{% endfor %}",
    "a macro": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(0) }}",
    "a tree of macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "a tree of blocks": "{% block b scoped %}{{ self.b() }}{{ self.b() }}{% endblock %}",
    "a recursive loop": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("kind", ENDLESS)
def test_endless(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A template that loops, or makes gigabytes, is stopped before it has; it renders nothing, and the log says so."""
    began, kilobytes = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert rendered(ENDLESS[kind]) is None
    assert time.thread_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kilobytes < 200_000
    (record,) = caplog.records
    assert "the chat template could not be rendered" in record.getMessage()


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("{{ 'a' ~ 1 ~ none }}", "a1None"),
        ("{{ [1, (2, 'x')] + [{'a': 3}] }}", "[1, (2, 'x'), {'a': 3}]"),
        ("{{ 'a' * 3 + 'b' }}{{ 2 * 3 }}{{ 2 ** 3 }}{{ 7 % 4 }}{{ 1.5 * 2 }}", "aaab6833.0"),
        ("{{ '%s-%05d' % ('x', 3) }}{{ '%s' % 'y' }}{{ '{}:{:>4}'.format('a', 'b') }}", "x-00003ya:   b"),
        ("{{ 'tel 20251234567 {}'.format(1) }}", "tel 20251234567 1"),
        ("{{ 'a,b'.split(',') | join('-') }}{{ '-'.join(['a', 'b']) }}", "a-ba-b"),
        ("{{ 'x' | center(5) }}|{{ 'a\nb' | indent(2) }}", "  x  |a\n  b"),
        ("{% macro f(x, y=1) %}{{ x }}{{ y }}{{ caller() }}{% endmacro %}{% call f(2) %}c{% endcall %}", "21c"),
        ("{% for a, b in {'k': 'v'}.items() %}{{ a }}{{ b }}{% else %}none{% endfor %}", "kv"),
        ("{% set a, b = 1, [2] %}{{ a }}{{ b[0] }}{% set n = namespace(x=1) %}{% set n.x = n.x + 1 %}{{ n.x }}", "122"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}", "['Hi']"),
        (
            "{{ ('<b>' | e) ~ (' x ' | trim) }}{{ [3, 1] | sort }}{{ {'b': 1} | dictsort }}",
            "&lt;b&gt;x[1, 3][('b', 1)]",
        ),
        ("{% for i in range(3) %}{{ loop.index }}{{ cycler('a', 'b').next() }}{% endfor %}", "1a2a3a"),
        ("{% block b scoped %}{{ messages[0].content }}{% endblock %}{% filter upper %}x{% endfilter %}", "HiX"),
    ],
)
def test_what_templates_do(template: str, prompt: str) -> None:
    """What the limits look at works as it does without them."""
    assert prompt == rendered(template)


@pytest.mark.thorough
def test_a_long_conversation() -> None:
    """A request of 600,000 characters is far from the limits."""
    messages = [
        {"role": ("user", "assistant")[turn % 2], "content": f"{turn} " + "word " * 400} for turn in range(1001)
    ]
    for name in MODELS:
        template = Template((TEMPLATES / f"{name}.jinja").read_text("utf-8"), {"bos_token": "<s>", "eos_token": "</s>"})
        made = template.render({"messages": messages}, DAY)
        assert made is not None
        assert len(made.prompt) > 600_000


# Templates of real models.

#: What stands before and after the thoughts, and whether the template shows it.
AROUND = {
    "deepseek_r1_distill": ("", "\n</think>\n\n", False),
    "glm4moe": ("\n<think>", "</think>\n", True),
    "nemotron_3_nano": ("", "\n</think>\n", True),
    "qwen3": ("<think>\n", "\n</think>\n\n", True),
    "qwen3_5_think": ("", "\n</think>\n\n", True),
}
#: Where nothing shows it, as most models write it.
USUAL = "<think>\n", "\n</think>\n\n", False


@pytest.mark.parametrize("name", MODELS)
def test_real_templates(name: str) -> None:
    """Each renders to the letter as ``transformers`` does; the form around thoughts is the model's."""
    template = Template((TEMPLATES / f"{name}.jinja").read_text("utf-8"), {"bos_token": "<s>", "eos_token": "</s>"})
    for messages in (
        [{"role": "user", "content": "Hi"}],
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": TEXT}, {"role": "user", "content": TEXT}],
    ):
        made = template.render({"messages": messages}, DAY)
        assert made is not None
        assert begun(name, messages) == made.prompt
        assert AROUND.get(name, USUAL) == (made.opening, made.closing, made.shows_thoughts)
        assert ("<s>" if made.prompt.startswith("<s>") else "") == made.bos
        assert not made.lacks_bos
        # What a model would have written, sent back after the prompt, is what the template makes of it.
        if made.shows_thoughts and not made.opening:
            assert made.prompt.endswith("<think>\n")

    bare = Template(template.source).render({"messages": [{"role": "user", "content": "Hi"}]}, DAY)
    assert bare is not None
    assert ("bos_token" in template.source) == bare.lacks_bos
    assert THOUGHTS not in bare.prompt


def test_thinking_switched_off() -> None:
    """A template whose block is closed in the prompt opens none."""
    for name in ("qwen3", "qwen3_5_think"):
        template = Template((TEMPLATES / f"{name}.jinja").read_text("utf-8"))
        made = template.render(
            {"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": {"enable_thinking": False}}, DAY
        )
        assert made is not None
        assert made.prompt.endswith("<think>\n\n</think>\n\n")


def test_compiled_once() -> None:
    """A template is compiled once."""
    chat_template.compiled.cache_clear()
    for _ in range(3):
        rendered("x {{ messages[0].content }}")
    assert chat_template.compiled.cache_info().misses == 1
