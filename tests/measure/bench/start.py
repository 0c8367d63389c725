"""
Measures what the start of Python costs: without our .pth, with it and the variable unset, and with it set.

    python tests/measure/bench/start.py [RUNS]

Installs the wheel of this checkout into an environment of its own, with uv, and runs ``python -c pass`` in each of the
three ways in turn, RUNS times (default 200). Prints the medians of the CPU time, user and system, and what is added to
that of the run just before without .pth. Exits with 1 over the limits, which an idle machine keeps.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: Milliseconds of CPU time more than without.
LIMITS = {"variable unset": 0.5, "OPENAI_CONTINUE=1": 2.0}


def cpu_time(python: Path, environment: dict[str, str]) -> float:
    """Start Python; give the milliseconds of CPU time that it took."""
    child = os.posix_spawn(python, [str(python), "-c", "pass"], environment)
    _, status, used = os.wait4(child, 0)
    assert status == 0
    return (used.ru_utime + used.ru_stime) * 1000


def measured(venv: Path, runs: int) -> dict[str, list[float]]:
    python = venv / "bin" / "python"
    (pth,) = venv.glob("lib/python3*/site-packages/openai_continue.pth")
    away = pth.with_suffix(".away")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_CONTINUE", "PYTHON"))
    }
    times: dict[str, list[float]] = {name: [] for name in ("no .pth", *LIMITS)}
    for number in range(runs + 5):
        pth.rename(away)
        try:
            without = cpu_time(python, environment)
        finally:
            away.rename(pth)
        unset = cpu_time(python, environment)
        on = cpu_time(python, {**environment, "OPENAI_CONTINUE": "1"})
        # The first ones write byte code.
        if number >= 5:
            for name, value in zip(times, (without, unset, on), strict=True):
                times[name].append(value)
    return times


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as scratch:
        venv = Path(scratch) / "venv"
        for command in (
            ["uv", "build", "--quiet", "--wheel", "--out-dir", scratch, str(ROOT)],
            ["uv", "venv", "--quiet", "--python", sys.executable, str(venv)],
        ):
            subprocess.run(command, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        install = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", str(venv / "bin" / "python"), str(wheel)]
        subprocess.run(install, check=True)
        times = measured(venv, runs)
    without = times["no .pth"]
    print(f"Python {sys.version.split()[0]}, {runs} runs each, CPU time in ms, medians")
    print(f"no .pth           {statistics.median(without):6.2f}")
    good = True
    for name, limit in LIMITS.items():
        more = statistics.median(after - before for after, before in zip(times[name], without, strict=True))
        good &= more < limit
        print(f"{name:17} {statistics.median(times[name]):6.2f}  {more:+.2f}, limit {limit}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
