"""LiteLLM: the SDK's ways, the Router, and the proxy server, asked with raw HTTP and with OpenAI's JavaScript SDK."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import litellm
from checking import Seen, emulator, opt_out, report, way

PROXY_SECONDS = 90.0
KEY = f"sk-{secrets.token_hex(32)}"
#: The folder of OpenAI's package from npm, next to the environment.
JAVASCRIPT = Path(sys.prefix) / "javascript"
JAVASCRIPT_PACKAGE = "openai@6"
#: The file that tests/README.md names. The server's address is added.
CONFIG = Path(__file__).with_name("litellm_proxy.yaml")
MODEL = "deepseek-ai/DeepSeek-V3.2"
PROGRAM = """
import OpenAI from "openai";
const [baseURL, apiKey, model, prompt, stream] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey });
const request = { model, messages: [{ role: "user", content: prompt }] };
let content = "", usage;
if (stream === "stream") {
  const options = { stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create({ ...request, ...options })) {
    content += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
} else {
  const completion = await client.chat.completions.create(request);
  content = completion.choices[0].message.content;
  usage = completion.usage;
}
console.log(JSON.stringify({ content, usage }));
"""


def arguments(base_url: str, prompt: str, model: str = "openai/any") -> dict[str, Any]:
    return {"model": model, "messages": user(prompt), "api_base": base_url, "api_key": "none"}


def user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def seen(completion: Any) -> Seen:
    usage = completion.usage
    return Seen(completion.choices[0].message.content, usage.completion_tokens, usage.prompt_tokens)


def joined(chunks: list[Any]) -> Seen:
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    if not usages:
        return Seen("".join(texts))
    return Seen("".join(texts), usages[-1].completion_tokens, usages[-1].prompt_tokens)


STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


@way("completion")
def completion(base_url: str, prompt: str) -> Seen:
    return seen(litellm.completion(**arguments(base_url, prompt)))


@way("completion (streamed)")
def completion_streamed(base_url: str, prompt: str) -> Seen:
    return joined(list(litellm.completion(**arguments(base_url, prompt), **STREAMED)))


@way("acompletion")
async def acompletion(base_url: str, prompt: str) -> Seen:
    return seen(await litellm.acompletion(**arguments(base_url, prompt)))


@way("acompletion (streamed)")
async def acompletion_streamed(base_url: str, prompt: str) -> Seen:
    stream: Any = await litellm.acompletion(**arguments(base_url, prompt), **STREAMED)
    return joined([chunk async for chunk in stream])


@way("deepinfra/")
def deepinfra(base_url: str, prompt: str) -> Seen:
    return seen(litellm.completion(**arguments(base_url, prompt, "deepinfra/any")))


@way("deepinfra/ (streamed)")
def deepinfra_streamed(base_url: str, prompt: str) -> Seen:
    return joined(list(litellm.completion(**arguments(base_url, prompt, "deepinfra/any"), **STREAMED)))


@way("deepinfra/ (async)")
async def deepinfra_async(base_url: str, prompt: str) -> Seen:
    return seen(await litellm.acompletion(**arguments(base_url, prompt, "deepinfra/any")))


def router(base_url: str) -> litellm.Router:
    parameters = {"model": "openai/any", "api_base": base_url, "api_key": "none"}
    return litellm.Router(model_list=[{"model_name": "long", "litellm_params": parameters}])


@way("Router")
def routed(base_url: str, prompt: str) -> Seen:
    return seen(router(base_url).completion("long", user(prompt)))


@way("Router (async streamed)")
async def routed_streamed(base_url: str, prompt: str) -> Seen:
    stream: Any = await router(base_url).acompletion("long", user(prompt), **STREAMED)
    return joined([chunk async for chunk in stream])


@opt_out("completion")
def completion_opted_out(base_url: str, prompt: str) -> Seen:
    return seen(litellm.completion(**arguments(base_url, prompt), extra_body={"continuation": False}))


@cache
def proxy(base_url: str) -> str:
    """Start LiteLLM's proxy in front of a server, until the check ends; return its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Path("config.yaml").absolute()
    served = f"{CONFIG.read_text(encoding='utf-8').rstrip()}\n      api_base: {base_url}\n"
    config.write_text(served, encoding="utf-8")
    command = ["litellm", "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "LITELLM_MASTER_KEY": KEY}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment)
    atexit.register(end, process)
    wait_for(f"http://127.0.0.1:{port}/health/liveliness", process)
    return f"http://127.0.0.1:{port}/v1"


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PROXY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    msg = f"the proxy did not start: {process.poll()}"
    raise RuntimeError(msg)


def posted(base_url: str, body: dict[str, Any]) -> bytes:
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: bytes = response.read()
    return answer


def shown(content: str, usage: dict[str, Any] | None) -> Seen:
    return Seen(content, usage["completion_tokens"], usage["prompt_tokens"]) if usage else Seen(content)


@way("proxy", in_process=False)
def proxied(base_url: str, prompt: str) -> Seen:
    answer = json.loads(posted(proxy(base_url), {"model": MODEL, "messages": user(prompt)}))
    assert {request.body["model"] for request in emulator(None).requests} == {MODEL}
    return shown(answer["choices"][0]["message"]["content"], answer["usage"])


@way("proxy (streamed)", in_process=False)
def proxied_stream(base_url: str, prompt: str) -> Seen:
    answer = posted(proxy(base_url), {"model": MODEL, "messages": user(prompt), **STREAMED})
    lines = answer.decode().split("\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    chunks = [json.loads(line) for line in data if line != "[DONE]"]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    return shown(text, next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None))


@opt_out("proxy", "body of the request to the proxy", in_process=False)
def proxied_opted_out(base_url: str, prompt: str) -> Seen:
    answer = json.loads(posted(proxy(base_url), {"model": MODEL, "messages": user(prompt), "continuation": False}))
    return shown(answer["choices"][0]["message"]["content"], answer["usage"])


def by_javascript(base_url: str, prompt: str, *how: str) -> Seen:
    program = JAVASCRIPT / "ask.mjs"
    program.write_text(PROGRAM, encoding="utf-8")
    command = ["node", str(program), proxy(base_url), KEY, MODEL, prompt, *how]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60, encoding="utf-8")
    answer = json.loads(done.stdout)
    return shown(answer["content"], answer["usage"])


def javascript_version() -> str:
    """Install OpenAI's package for JavaScript if it is missing; return its version."""
    package = JAVASCRIPT / "node_modules" / "openai" / "package.json"
    if not package.is_file():
        JAVASCRIPT.mkdir(exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", str(JAVASCRIPT)]
        subprocess.run([*npm, JAVASCRIPT_PACKAGE], check=True, stdout=sys.stderr, timeout=120)
    return str(json.loads(package.read_text(encoding="utf-8"))["version"])


others: dict[str, str] = {}
if shutil.which("node") and shutil.which("npm"):
    others["openai on npm"] = javascript_version()

    @way("proxy by JavaScript", in_process=False)
    def javascript(base_url: str, prompt: str) -> Seen:
        return by_javascript(base_url, prompt)

    @way("proxy by JavaScript (streamed)", in_process=False)
    def javascript_streamed(base_url: str, prompt: str) -> Seen:
        return by_javascript(base_url, prompt, "stream")


report("litellm", **others)
