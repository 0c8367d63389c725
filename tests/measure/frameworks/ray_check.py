"""Ray Data: the example prompts_ray.py, unchanged, on a local cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet
from checking import CAP, TOKENS

from openai_continue.testing import Emulator

ROWS = 48
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "prompts_ray.py"
SECONDS = 540
#: These keep the cluster on loopback, and without a token in the home directory.
LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}


def written(emulator: Emulator, **variables: str) -> list[dict[str, Any]]:
    """Run the example in this folder; return its rows."""
    shutil.rmtree("answers", ignore_errors=True)
    prompts = [json.dumps({"prompt": f"Write no. {number}."}) for number in range(ROWS)]
    Path("prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
    local = {**LOCAL, "RAY_TMPDIR": str(Path.cwd()), "OPENAI_BASE_URL": emulator.base_url}
    environment = {**os.environ, **local, **variables}
    command = [sys.executable, EXAMPLE, "prompts.jsonl", "answers"]
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr, timeout=SECONDS)
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table("answers").to_pylist()
    return rows


def whole(emulator: Emulator, row: dict[str, Any]) -> bool:
    text: str = emulator.uncapped({"messages": [{"role": "user", "content": row["prompt"]}]})
    return text == row["text"]


def kill_a_worker(emulator: Emulator, killed: list[int]) -> None:
    """End one worker by SIGKILL while it writes."""
    while len(emulator.requests) < ROWS:
        time.sleep(0.05)
    workers = [each for each in psutil.process_iter(["name", "cmdline"]) if is_worker(each)]
    for worker in workers[:1]:
        worker.kill()
        killed.append(worker.pid)


def is_worker(process: psutil.Process) -> bool:
    """Whether a process writes rows, as Ray names it."""
    words = " ".join(process.info["cmdline"] or [])
    return "ray::" in words and "Write" in words


def checked(emulator: Emulator, way: str, rows: list[dict[str, Any]], lost: int) -> dict[str, Any]:
    """Return a row of the table. ``lost``: tokens that may be paid and not reported."""
    requests = emulator.requests
    right = sum(whole(emulator, row) for row in rows)
    used = sum(row["tokens"] for row in rows)
    paid = sum(request.completion_tokens for request in requests)
    result = {
        "way": way,
        "switch": "",
        "whole": right == len(rows) == ROWS,
        "rounds": len(requests) > ROWS and not emulator.derailed,
        "usage": used <= paid <= used + lost,
        "opt_out": None,
        "file": None,
    }
    reason = "" if False not in result.values() else f"{right} of {ROWS} whole, {used} tokens reported, {paid} paid"
    return {**result, "reason": reason}


def main() -> None:
    with Emulator(cap=CAP, tokens=TOKENS, token_delay=0.001) as emulator:
        ways = [checked(emulator, f"Dataset.map over {ROWS} rows", written(emulator), 0)]
    with Emulator(cap=CAP, tokens=TOKENS, token_delay=0.004) as emulator:
        killed: list[int] = []
        killer = threading.Thread(target=kill_a_worker, args=(emulator, killed), daemon=True)
        killer.start()
        rows = written(emulator, OPENAI_CONTINUE_JOURNAL=str(Path.cwd() / "journal"))
        # A worker has 16 answers under way, and each loses its running round.
        row = checked(emulator, "the same with a journal, and a worker that is killed", rows, 16 * CAP)
        ways.append({**row, "whole": row["whole"] and len(killed) == 1})
    print(json.dumps({"versions": versions(), "ways": ways}))


def versions() -> dict[str, str]:
    return {package: version(package) for package in ("ray", "openai")}


main()
