"""Ray Data: ray_recipe.py, unchanged, on a local cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet
from checking import CAP, TOKENS

from openai_continue.testing import Emulator

ROWS = 48
RECIPE = Path(__file__).with_name("ray_recipe.py")
SECONDS = 540
#: These keep the cluster on loopback, and without a token in the home directory.
LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}


def written(emulator: Emulator) -> list[dict[str, Any]]:
    """Run the recipe in this folder; return its rows."""
    prompts = [json.dumps({"prompt": f"Write no. {number}."}) for number in range(ROWS)]
    Path("prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
    environment = {**os.environ, **LOCAL, "RAY_TMPDIR": str(Path.cwd()), "OPENAI_BASE_URL": emulator.base_url}
    subprocess.run([sys.executable, RECIPE], check=True, env=environment, stdout=sys.stderr, timeout=SECONDS)
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table("answers").to_pylist()
    return rows


def whole(emulator: Emulator, row: dict[str, Any]) -> bool:
    text: str = emulator.uncapped({"messages": [{"role": "user", "content": row["prompt"]}]})
    return text == row["text"]


def main() -> None:
    with Emulator(cap=CAP, tokens=TOKENS, token_delay=0.001) as emulator:
        rows = written(emulator)
        requests = emulator.requests
        right = sum(whole(emulator, row) for row in rows)
        used = sum(row["completion_tokens"] for row in rows)
        paid = sum(request.completion_tokens for request in requests)
        result = {
            "way": f"Dataset.map over {ROWS} rows",
            "switch": "",
            "whole": right == len(rows) == ROWS,
            "rounds": len(requests) > ROWS and not emulator.derailed,
            "usage": used == paid,
            "opt_out": None,
        }
    reason = "" if False not in result.values() else f"{right} of {ROWS} whole, {used} tokens reported, {paid} paid"
    print(json.dumps({"versions": versions(), "ways": [{**result, "reason": reason}]}))


def versions() -> dict[str, str]:
    return {package: version(package) for package in ("ray", "openai")}


main()
