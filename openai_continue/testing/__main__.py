"""
``python -m openai_continue.testing``: the emulator as a command.
"""

from __future__ import annotations

import argparse
import contextlib
import threading

from . import Emulator


def main() -> None:
    """Print the address, and serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m openai_continue.testing",
        description="Run an OpenAI-compatible server that behaves like DeepInfra. Its address is printed.",
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port (a free one)")
    parser.add_argument("--cap", type=int, default=16_384, help="most output tokens of a response (%(default)s)")
    parser.add_argument("--context", type=int, default=163_840, help="most tokens of prompt and answer (%(default)s)")
    parser.add_argument(
        "--tokens", type=int, default=2_000, help="length of an answer if the prompt names none (%(default)s)"
    )
    parser.add_argument("--token-delay", type=float, default=0.0, help="seconds per token (%(default)s)")
    parser.add_argument("--chunk-tokens", type=int, default=1, help="tokens per chunk of a stream (%(default)s)")
    options = parser.parse_args()
    try:
        with contextlib.suppress(KeyboardInterrupt), Emulator(**vars(options)) as emulator:
            print(emulator.base_url, flush=True)  # noqa: T201 - the purpose of the command
            threading.Event().wait()
    except OSError as error:
        parser.error(f"--port {options.port}: {error.strerror}")
    except ValueError as error:
        name, _, what = str(error).partition(":")
        parser.error(f"--{name.replace('_', '-')}:{what}")


if __name__ == "__main__":
    main()
