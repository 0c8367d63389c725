"""Ray Data: ray_recipe.py as it stands, on a local cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
from checking import CAP, TOKENS
from importlib.metadata import version

from openai_continue.testing import Emulator

ROWS = 48
RECIPE = Path(__file__).with_name("ray_recipe.py")
SECONDS = 240
#: The cluster binds to loopback, and needs no token in the home directory.
LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}


def written(emulator: Emulator, switch: str) -> list[dict[str, Any]]:
    """Run the recipe in a folder of its own; give the rows in order."""
    folder = Path(f"switch-{switch}").absolute()
    folder.mkdir()
    prompts = [json.dumps({"number": number, "prompt": f"Write no. {number}."}) for number in range(ROWS)]
    (folder / "prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
    openai = {"OPENAI_CONTINUE": switch, "OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": "none"}
    environment = {**os.environ, **LOCAL, **openai}
    subprocess.run([sys.executable, RECIPE], check=True, cwd=folder, env=environment, stdout=sys.stderr, timeout=SECONDS)
    rows = pyarrow.parquet.read_table(folder / "answers").to_pylist()
    return sorted(rows, key=lambda row: row["number"])


def whole(emulator: Emulator, row: dict[str, Any]) -> bool:
    text: str = emulator.uncapped({"messages": [{"role": "user", "content": row["prompt"]}]})
    return text == row["text"]


def main() -> None:
    with Emulator(cap=CAP, tokens=TOKENS, token_delay=0.001) as emulator:
        rows = written(emulator, "1")
        requests = emulator.requests
        right = sum(whole(emulator, row) for row in rows)
        used = sum(row["completion_tokens"] for row in rows)
        paid = sum(request.completion_tokens for request in requests)
        derailed = emulator.derailed
        emulator.clear()
        plain = written(emulator, "0")
        result = {
            "way": f"map over {ROWS} rows",
            "switch": "OPENAI_CONTINUE=0",
            "whole": right == ROWS,
            "rounds": len(requests) > ROWS and not derailed,
            "usage": used == paid,
            "opt_out": len(plain) == len(emulator.requests) == ROWS,
        }
    reason = "" if False not in result.values() else f"{right} of {ROWS} whole, {used} tokens told, {paid} paid"
    print(json.dumps({"versions": versions(), "ways": [{**result, "reason": reason}]}))


def versions() -> dict[str, str]:
    return {package: version(package) for package in ("ray", "openai")}


main()
