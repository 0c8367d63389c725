"""
``python -m tests.measure.bench.bench``: what the library costs, against the SDK without it and against loops by hand.

A ratio is the median of pairs of one run, in which the two sides take turns. It is printed for CPU time and for wall
time. Every text is compared with the right one. A line that begins with ``!`` misses its target.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openai

from openai_continue import startup, switches
from tests.measure.bench import in_memory, over_loopback
from tests.measure.bench.timing import row, say


def activation(repeats: int) -> None:
    """The CPU time that OPENAI_CONTINUE=1 adds to ``import openai``."""
    # What Python does at its start if the package is installed.
    pth = Path(startup.__file__).with_name("openai_continue.pth").read_text()
    code = f"import time; t = time.process_time()\n{pth}\nimport openai; print(time.process_time() - t)"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(switches.VARIABLE)}
    environments = bare, {**bare, switches.VARIABLE: "1"}
    # The least of each, because other programs only add to it.
    without, active = map(
        min, zip(*([_printed(code, each) for each in environments] for _ in range(repeats)), strict=True)
    )
    more = (active - without) * 1e3
    figures = f"{more:.1f} ms more than {without * 1e3:.0f} ms"
    row("OPENAI_CONTINUE=1, import openai", figures, "<= 20 ms", good=more <= 20)


def _printed(code: str, environment: dict[str, str]) -> float:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def imports(repeats: int) -> None:
    """The CPU time of ``import openai_continue``, and whether it imports openai or wrapt."""
    code = (
        "import sys, time; t = time.process_time(); import openai_continue; t = time.process_time() - t;"
        "print(t, *{'openai', 'wrapt'} & sys.modules.keys())"
    )
    printed = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
        for _ in range(repeats)
    ]
    milliseconds = statistics.median(float(words[0]) for words in printed) * 1e3
    others = printed[0][1:]
    figures = f"{milliseconds:.2f} ms, and imports {' '.join(others) or 'neither'}"
    row("import openai_continue", figures, "< 5 ms", good=milliseconds < 5 and not others)


#: Each measures with a number of pairs, and prints its lines.
ROWS: dict[str, Callable[[int], None]] = {
    "pass-through": in_memory.pass_through,
    "continued": in_memory.continued,
    "growth": in_memory.growth,
    "echo": in_memory.echo,
    "memory": in_memory.memory,
    "concurrent": in_memory.concurrent,
    "gap": in_memory.gap,
    "loopback": over_loopback.loopback,
    "requests": over_loopback.requests,
    "peers": over_loopback.against_peers,
    "import": imports,
    "activation": activation,
}


def main() -> None:
    """Measure what the library costs, and print a line for each figure."""
    rows = "\n".join(f"  {name:14}{measure.__doc__}" for name, measure in ROWS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.measure.bench.bench",
        description=f"{main.__doc__}\n\nrows:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="the rows to measure (all)")
    parser.add_argument("--repeats", type=int, default=9, help="pairs whose median is taken (%(default)s)")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; the rows are {', '.join(ROWS)}")
    say(f"openai {openai.__version__}, Python {sys.version.split()[0]}")
    for name in options.rows or ROWS:
        ROWS[name](options.repeats)


if __name__ == "__main__":
    main()
