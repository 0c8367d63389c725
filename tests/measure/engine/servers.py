"""
Real engines that serve a test model or a real chat model on loopback, each for a ``with`` block.

Both give the ``base_url`` of an OpenAI client; the models are called ``MODEL``, ``CHAT_MODEL``, ``THOUGHTS_MODEL`` and
as in ``CALLS_MODELS``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import install_chat_model
import install_llama
import install_vllm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MODEL = "tinylist"
#: SmolLM2-135M-Instruct, a real one. Its name must not give away the family.
CHAT_MODEL = "chat"
#: The model that writes tool calls, once for each syntax, which its name gives away.
CALLS_MODELS = {"hermes": "qwen2.5-tiny", "coder": "qwen3-coder-tiny"}
#: The model that thinks, with a template for each way to do it. Its name must not give away the family, either.
THOUGHTS_MODEL = "tinythinker"
#: How many answers an engine makes at a time. On vLLM eight take little longer than one.
AT_A_TIME = {"vllm": 8, "llama.cpp": 1}
HERE = Path(__file__).resolve().parent
FILES = HERE / "model"
CALLS_FILES = HERE / "calls_model"
THOUGHTS_FILES = HERE / "thoughts_model"
#: The folder with the chat templates of each model.
TEMPLATES = {
    MODEL: FILES,
    CHAT_MODEL: HERE / "chat_model",
    **dict.fromkeys(CALLS_MODELS.values(), CALLS_FILES),
    THOUGHTS_MODEL: THOUGHTS_FILES,
}
#: vLLM's parser for each of them. llama-server takes its own from the template.
TOOL_PARSERS = {CALLS_MODELS["hermes"]: "hermes", CALLS_MODELS["coder"]: "qwen3_coder"}
#: vLLM's parser of the thoughts for the templates of ``THOUGHTS_MODEL``. llama-server takes its own from the template.
REASONING_PARSERS = {"qwen3": "qwen3", "r1": "deepseek_r1", "glm": "glm45"}
#: Seconds; vLLM takes 40 to 150 on two shared cores.
MOST_TO_START = 1200.0
MOST_TO_END = 20.0

_VLLM_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    # Compiling the count of logprobs would cost the first request 20 s.
    "TORCHDYNAMO_DISABLE": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


class EngineError(RuntimeError):
    """An engine is not there, or did not start."""


@contextlib.contextmanager
def vllm(
    template: str | None = None,
    reasoning_parser: str | None = None,
    override_generation_config: Mapping[str, Any] | None = None,
    max_model_len: int = 16384,
    model: str = MODEL,
) -> Iterator[str]:
    """
    Serve a model with vLLM.

    ``template``: "plain" (the default), "trim", "r1" or "r1rc"; a model that writes tool calls has its own, and
    ``THOUGHTS_MODEL`` has "qwen3" (the default), "r1" and "glm", with their parsers, "plain" and "trim".
    ``override_generation_config={"max_new_tokens": 256}``
    caps every answer on the server's side, as DeepInfra does.
    """
    _refuse_missing(model, install_chat_model.CONVERTED)
    port = _free_port()
    files = install_chat_model.CONVERTED if model == CHAT_MODEL else TEMPLATES[model]
    command = _vllm_command(["serve", files], override_generation_config)
    command += ["--served-model-name", model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--enable-prompt-tokens-details", "--max-model-len", str(max_model_len)]
    if (template := template or _syntax(model)) is not None:
        command += ["--chat-template", _template(template, model)]
    if model in TOOL_PARSERS:
        command += ["--enable-auto-tool-choice", "--tool-call-parser", TOOL_PARSERS[model]]
    if model == THOUGHTS_MODEL:
        reasoning_parser = reasoning_parser or REASONING_PARSERS.get(template or "qwen3")
    if reasoning_parser is not None:
        command += ["--reasoning-parser", reasoning_parser]
    with _running(command, _VLLM_ENVIRONMENT, port):
        yield f"http://127.0.0.1:{port}/v1"


def run_batch(requests: Path, answers: Path, cap: int | None = None) -> None:
    """Run a batch file of the test model with ``vllm run-batch``. ``cap``: most tokens of each answer."""
    command = _vllm_command(["run-batch", "--model", FILES], None if cap is None else {"max_new_tokens": cap})
    command += ["-i", requests, "-o", answers, "--served-model-name", MODEL, "--max-model-len", "16384"]
    with _started(command, _VLLM_ENVIRONMENT) as (process, log):
        process.wait(MOST_TO_START)
        if process.returncode or not answers.exists():
            _refuse_ended(process, log)


def _vllm_command(
    words: Sequence[str | Path], override_generation_config: Mapping[str, Any] | None
) -> list[str | Path]:
    if not install_vllm.installed():
        msg = "vLLM is not installed; run: python tests/measure/engine/install_vllm.py"
        raise EngineError(msg)
    command: list[str | Path] = [install_vllm.PYTHON, "-m", "vllm.entrypoints.cli.main", *words]
    command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", str(AT_A_TIME["vllm"])]
    if override_generation_config is not None:
        command += ["--override-generation-config", json.dumps(override_generation_config)]
    return command


@contextlib.contextmanager
def llama_server(
    template: str | None = None,
    reasoning_format: str | None = None,
    max_model_len: int = 16384,
    model: str = MODEL,
    *,
    prefills: bool = True,
) -> Iterator[str]:
    """
    Serve a model with llama.cpp's server, which does not mind what ``template`` trims.

    ``prefills``: whether a trailing assistant message is continued. If not, it is a finished turn.
    """
    if not install_llama.installed():
        msg = "llama-server is not built; run: python tests/measure/engine/install_llama.py"
        raise EngineError(msg)
    _refuse_missing(model, install_chat_model.GGUF, "--gguf")
    port = _free_port()
    command: list[str | Path] = [install_llama.COMMAND, "-a", model]
    command += ["-m", install_chat_model.GGUF if model == CHAT_MODEL else install_llama.gguf(TEMPLATES[model])]
    command += ["--host", "127.0.0.1", "--port", str(port), "-c", str(max_model_len), "-t", "1"]
    command += ["-np", str(AT_A_TIME["llama.cpp"]), "--no-webui", "--jinja"]
    if (template := template or _syntax(model)) is not None:
        command += ["--chat-template-file", _template(template, model)]
    if reasoning_format is not None:
        command += ["--reasoning-format", reasoning_format]
    if not prefills:
        command += ["--no-prefill-assistant"]
    with _running(command, {}, port):
        yield f"http://127.0.0.1:{port}/v1"


def _refuse_missing(model: str, path: Path, *options: str) -> None:
    if model == CHAT_MODEL and not path.exists():
        command = " ".join(("python tests/measure/engine/install_chat_model.py", *options))
        msg = f"the chat model is not installed; run: {command}"
        raise EngineError(msg)


def _syntax(model: str) -> str | None:
    """Return the syntax of a model's tool calls, which is the name of its template, or None if it writes none."""
    return next((syntax for syntax, name in CALLS_MODELS.items() if name == model), None)


def _template(name: str, model: str) -> Path:
    path = TEMPLATES[model] / f"template_{name}.jinja.txt"
    if not path.is_file():
        files = TEMPLATES[model].glob("template_*")
        known = sorted(found.name.removeprefix("template_").split(".")[0] for found in files)
        msg = f"template: got {name!r}, accepted are {', '.join(known)}"
        raise EngineError(msg)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(command: Sequence[str | Path], environment: Mapping[str, str], port: int) -> Iterator[None]:
    """Run a server from its first good /health to the end of the block."""
    with _started(command, environment) as (process, log):
        _await_health(process, port, log)
        yield
        _refuse_ended(process, log)


@contextlib.contextmanager
def _started(
    command: Sequence[str | Path], environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a command in a process group of its own to the end of the block, at most; give the process and its log."""
    with tempfile.TemporaryDirectory(prefix=f"{MODEL}-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                # vLLM leaves its sockets behind.
                env={**os.environ, **environment, "TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process, log
        finally:
            _end(process)


def _await_health(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < MOST_TO_START:
        _refuse_ended(process, log)
        with contextlib.suppress(OSError), _direct.open(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.5)
    msg = f"the server is not up after {MOST_TO_START:.0f} s; its log ends in:\n{_tail(log)}"
    raise EngineError(msg)


def _refuse_ended(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        msg = f"the server ended with {process.returncode}; its log ends in:\n{_tail(log)}"
        raise EngineError(msg)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started: the group outlives its leader where the leader fails."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(MOST_TO_END)


# A proxy in the environment must not come between.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
