"""By what an answer shows which of the servers that cannot continue has given it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(slots=True)
class Signs:
    """What a server shows of itself."""

    #: ``system_fingerprint`` of an answer, or "".
    fingerprint: str = ""
    #: ``owned_by`` of each model in its list.
    owners: frozenset[str] = frozenset()
    #: Status and text of each error.
    errors: list[str] = field(default_factory=list[str])
    #: Whether answers have a usage whose numbers are all zero.
    no_usage: bool = False
    #: ``finish_reason`` of an answer that ``max_tokens`` cut.
    finish: str = "length"


#: What the server of each row is called.
SERVERS = {
    "mlx_lm": "mlx_lm.server",
    "transformers": "transformers serve",
    "llama-cpp-python": "llama-cpp-python's server",
    "litgpt": "LitGPT's server",
}
# Its version, the version of mlx, the platform in the words of Python's platform.platform(), and the GPU or CPU.
_MLX = re.compile(r"\d+\.\d+[^-]*-\d+\.\d+[^-]*-(?:macOS|Darwin|Linux)-")


def recognized(signs: Signs) -> str | None:
    """Return the row of the server that shows these signs, or None if none of those that cannot continue does."""
    # mlx_lm/server.py at d78bf58, get_system_fingerprint().
    if _MLX.match(signs.fingerprint):
        return "mlx_lm"
    # transformers 5.23.0, cli/serving/utils.py: fields that it does not know, so the marks of vLLM, are an error.
    if any(error.startswith("422 ") and "Unexpected fields in the request" in error for error in signs.errors):
        return "transformers"
    # llama-cpp-python 0.3.36, llama_cpp/server/app.py. llama-server's models are owned by "llamacpp".
    if signs.owners == frozenset({"me"}):
        return "llama-cpp-python"
    # LitServe at 1311d5b, specs/openai.py: "stop" ends each answer, and usage is zero unless the model counts.
    if signs.no_usage and signs.finish == "stop":
        return "litgpt"
    return None
