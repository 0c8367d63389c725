"""Which key goes to which server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from openai_continue import SettingsError
from openai_continue._cli import main
from openai_continue._cli.server import DEEPINFRA, NO_KEY, server_of

#: Distinct, so that each is known wherever it turns up.
KEYS = {"DEEPINFRA_API_KEY": "di-secret-1", "OPENAI_API_KEY": "sk-secret-2", "MISTRAL_API_KEY": "mi-secret-3"}
DI, SK, MI = KEYS.values()
BOTH = ("DEEPINFRA_API_KEY", "OPENAI_API_KEY")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set a key of each vendor."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        (None, DI),
        (DEEPINFRA, DI),
        ("https://api.deepinfra.com", DI),
        ("https://API.DeepInfra.COM/v1/openai", DI),
        ("https://api.deepinfra.com.:443/v1/openai", DI),
        ("https://deepinfra.ai/v1", DI),
        ("http://api.deepinfra.com:8080/v1/openai", DI),
        ("https://me:secret@api.deepinfra.com/v1/openai", DI),
        ("http://api.deepinfra.com.evil.example/v1", SK),
        ("http://evildeepinfra.com/v1", SK),
        ("https://api.deepinfra.com@evil.example/v1", SK),
        ("https://api.deepinfra.com:443@evil.example/v1", SK),
        ("https://api.deepinfra.com\\@evil.example/v1", SK),
        ("https://evil.example/api.deepinfra.com", SK),
        ("https://evil.example/?https://api.deepinfra.com/", SK),
        ("https://evil.example/#@api.deepinfra.com", SK),
        ("https://api-deepinfra.com/", SK),
        ("http://127.0.0.1:8000/v1", SK),
        ("http://[::1]:8000/v1", SK),
        ("https://api.openai.com/v1", SK),
        ("https://api.mistral.ai/v1", SK),
    ],
)
def test_key_of_a_host(base_url: str | None, key: str) -> None:
    """DeepInfra's key goes to DeepInfra's hosts only; any other host gets ``OPENAI_API_KEY``, as the SDK sends it."""
    assert server_of(base_url).key == key


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("base_url", [DEEPINFRA, "http://127.0.0.1:8000/v1", "https://api.mistral.ai/v1"])
def test_named_variable(base_url: str) -> None:
    """--api-key-env says which key goes, wherever it goes."""
    assert server_of(base_url, "MISTRAL_API_KEY").key == MI


@pytest.mark.parametrize(
    ("url", "base_url", "variables", "key"),
    [
        # The address of the environment is asked if no other is named, and so its key goes there.
        ("http://127.0.0.1:8000/v1", None, BOTH, SK),
        ("http://127.0.0.1:8000/v1", DEEPINFRA, BOTH, DI),
        (DEEPINFRA, None, ("OPENAI_API_KEY",), SK),
        (DEEPINFRA, "http://127.0.0.1:8000/v1", ("DEEPINFRA_API_KEY",), NO_KEY),
        ("", DEEPINFRA, ("OPENAI_API_KEY",), SK),
        (" ", "http://127.0.0.1:8000/v1", (), NO_KEY),
        # A server of one's own may need none.
        ("", "http://gpu-box:8000/v1", ("DEEPINFRA_API_KEY",), NO_KEY),
        ("", "http://127.0.0.1:8000/v1", ("DEEPINFRA_API_KEY",), NO_KEY),
    ],
)
def test_address_of_the_environment(
    url: str, base_url: str | None, variables: tuple[str, ...], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OPENAI_BASE_URL`` is asked if no address is named; only set variables count."""
    monkeypatch.delenv("DEEPINFRA_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    for name in variables:
        monkeypatch.setenv(name, KEYS[name])
    server = server_of(base_url)

    assert (server.base_url, server.key) == (base_url or url, key)


@pytest.mark.parametrize(
    ("base_url", "named", "variables", "complaint"),
    [
        (None, None, {}, "No key for api.deepinfra.com: set DEEPINFRA_API_KEY, or name"),
        # The key of another vendor does not go to the address that is ours by default.
        (None, None, {"OPENAI_API_KEY": SK}, "No key for api.deepinfra.com: set DEEPINFRA_API_KEY, or name"),
        (DEEPINFRA, None, {}, "No key for api.deepinfra.com: set DEEPINFRA_API_KEY or OPENAI_API_KEY, or name"),
        ("https://api.mistral.ai/v1", None, {"DEEPINFRA_API_KEY": DI}, "No key for api.mistral.ai: set OPENAI_API_KEY"),
        ("http://127.0.0.1/v1", "UNSET", {"OPENAI_API_KEY": SK}, "No key for 127.0.0.1: set UNSET, or name"),
        ("http://127.0.0.1/v1", "EMPTY", {"EMPTY": " \n"}, "No key for 127.0.0.1: set EMPTY, or name"),
        ("http://127.0.0.1/v1", "MINE", {"MINE": "sk-sécret"}, "MINE: it has characters that no key has"),
        ("http://127.0.0.1/v1", "MINE", {"MINE": "sk-secret\nX: 1"}, "MINE: it has characters that no key has"),
        ("127.0.0.1:8000", None, {}, "--base-url: got '127.0.0.1:8000', accepted is an address such as http://"),
        ("", None, {}, "--base-url: got '', accepted is an address"),
        ("ftp://127.0.0.1/", None, {}, "--base-url: got 'ftp://127.0.0.1/', accepted"),
        ("http://me:secret@/v1", None, {}, "--base-url: got 'http://...@/v1', accepted"),
        ("http://127.0.0.1:99999/", None, {}, "--base-url: got 'http://127.0.0.1:99999/', accepted"),
        (None, None, {"OPENAI_BASE_URL": "nowhere"}, "OPENAI_BASE_URL: got 'nowhere', accepted is an address"),
    ],
)
def test_what_cannot_be_used(
    base_url: str | None,
    named: str | None,
    variables: dict[str, str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing key and a bad address are errors that say what to do, and show no secret."""
    monkeypatch.delenv("DEEPINFRA_API_KEY", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        server_of(base_url, named)

    assert str(raised.value).startswith(complaint)
    assert "secret" not in str(raised.value)


def test_errors_name_the_address_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of an error has host and port, and neither the key nor a password of the address."""
    monkeypatch.setenv("OPENAI_API_KEY", SK)
    server = server_of("http://me:secret@127.0.0.1:9/v1?token=secret")
    client = openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0)
    with client, pytest.raises(openai.APIConnectionError) as raised:
        client.models.list()
    said = server.said(raised.value)

    assert said == "APIConnectionError: Connection error. (Connection refused; http://127.0.0.1:9/v1)"
    assert "secret" not in repr(server)
    assert server.said(openai.OpenAIError(f"bad key {SK}")) == "OpenAIError: bad key ... (http://127.0.0.1:9/v1)"


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A proxy that answers by itself; the host and the key of each request are noted."""
    seen: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((str(self.headers["Host"]), str(self.headers["Authorization"]).removeprefix("Bearer ")))
            self.rfile.read(int(self.headers["Content-Length"]))
            data = json.dumps({"error": {"message": "no such model"}}).encode()
            self.send_response(404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


@pytest.mark.parametrize("command", [["write", "Hello."], ["doctor", "--yes"]], ids=" ".join)
@pytest.mark.parametrize(
    ("host", "more", "key"),
    [
        ("api.deepinfra.com", [], DI),
        ("api.deepinfra.com.evil.example", [], SK),
        ("api.mistral.ai", ["--api-key-env", "MISTRAL_API_KEY"], MI),
    ],
)
@pytest.mark.usefixtures("keys")
def test_key_that_is_sent(
    command: list[str],
    host: str,
    more: list[str],
    key: str,
    proxy: tuple[str, list[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The key that reaches a host is its own, for each command that asks one."""
    address, seen = proxy
    monkeypatch.setenv("http_proxy", address)
    code = main([*command, "--model", "m", "--base-url", f"http://{host}/v1", *more])

    assert code == 1
    assert set(seen) == {(host, key)}
    assert "secret" not in "".join(capsys.readouterr())
