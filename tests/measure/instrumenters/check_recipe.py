"""
Runs in the environment of an OpenTelemetry instrumenter: recipe.py, inside a span of the caller.

    python check_recipe.py with|without < what.json

Prints one line of JSON: for each way, the name of the span of each event. ``with``: the instrumenter is installed.
"""

from __future__ import annotations

import json
import runpy
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any


def main() -> None:
    from adapters import OpenTelemetry
    from check import Asker, only_loopback

    only_loopback()
    what = json.load(sys.stdin)
    # The emulator's host is in no row of the provider table.
    what["body"]["extra_body"] = {"continuation": {"provider": "deepinfra"}}

    class Watched(OpenTelemetry):
        def around(self) -> AbstractContextManager[Any]:
            return self.provider.get_tracer("check").start_as_current_span("caller")

        def take(self) -> list[str]:
            spans = self.exporter.get_finished_spans()
            self.exporter.clear()
            return [span.name for span in spans for _ in span.events]

    theirs = Watched("opentelemetry.instrumentation.genai.openai")
    if sys.argv[1] == "with":
        theirs.install()
    runpy.run_path(str(Path(__file__).with_name("recipe.py")))
    asker = Asker(theirs, what)
    said = asker.ask()
    asker.close()
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
