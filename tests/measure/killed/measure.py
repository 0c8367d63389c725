"""
Kill processes that wait for long answers, and start them again: ``python -m tests.measure.killed.measure --kills 200``.

Each answer has 600 tokens behind a cap of 100, at 200 tokens a second, so it takes some 3 seconds. A process is ended
by SIGKILL at a random moment within its call and started again, until the answer is whole. Prints a Markdown table: kills, answers,
wrong texts, and the tokens that were paid twice, for each kill. The exit code is 1 if a text is wrong.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from openai_continue.testing import Emulator

WAYS = ("whole", "streamed", "streamed rounds")
CAP, SIZE, DELAY = 100, 600, 0.005
CALLER = Path(__file__).with_name("caller.py")


def killed(emulator: Emulator, folder: str, prompt: str, way: str, dice: random.Random, most: int) -> tuple[bytes, int]:
    """Return the text of an answer whose processes were killed, and how often they were."""
    kills = 0
    while True:
        command = [sys.executable, str(CALLER), emulator.base_url, folder, prompt, way]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            # From the start of Python to a little after the end of the answer.
            text, _ = process.communicate(timeout=None if kills >= most else dice.uniform(0.3, 4.5))
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
            if text:
                # The call had returned.
                return text, kills
            kills += 1
        else:
            return text, kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    dice, wrong = random.Random(wanted.seed), 0
    print("| Calls | Kills | Answers | Wrong texts | Tokens paid twice, for each kill | Most, for one answer |")
    print("|---|---|---|---|---|---|")
    for place, way in enumerate(WAYS):
        kills = answers = bad = twice = most = 0
        share = wanted.kills // len(WAYS) + (place < wanted.kills % len(WAYS))
        with tempfile.TemporaryDirectory() as folder, Emulator(cap=CAP, token_delay=DELAY, chunk_tokens=1) as emulator:
            while kills < share:
                prompt = f"Answer {answers}: write {SIZE} tokens."
                body = {"model": "Qwen/Qwen3-32B", "messages": [{"role": "user", "content": prompt}]}
                emulator.clear()
                text, ended = killed(emulator, folder, prompt, way, dice, share - kills)
                paid = sum(request.completion_tokens or 0 for request in emulator.requests)
                again = max(paid - emulator.tokens_of(body), 0)
                bad += text.decode("utf-8", "surrogatepass") != emulator.uncapped(body)
                kills, answers, twice, most = kills + ended, answers + 1, twice + again, max(most, again)
        print(f"| {way} | {kills} | {answers} | {bad} | {twice / max(kills, 1):.0f} | {most} |", flush=True)
        wrong += bad
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
