"""Two corpora: texts that fall into a loop, and texts that repeat themselves for a reason."""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from openai_continue._core.text.repetition import DRIFT, LOOP_CHARACTERS, LOOP_REPEATS, LoopWatch
from openai_continue.testing.emulator.texts import document

#: Characters of a text; a file may be shorter.
LENGTH = 40_000
#: Characters that come between two looks of a stream: the fast path waits for so many.
PIECE = 1024

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


@dataclass(frozen=True)
class Loop:
    """A text, and where its loop begins."""

    kind: str
    text: str
    start: int
    #: The length of its block, or None if that drifts.
    block: int | None = None

    def needed(self, characters: int) -> int:
        """Return how much of it must have come under the setting ``max_repetition=characters``."""
        if self.block is None:
            return max(characters, min(DRIFT * characters, LOOP_CHARACTERS))
        return max(characters, LOOP_REPEATS * self.block)


# Loops.

#: Loops with a counter or a date, as models write them. {n}: a number; {word}: in words; {day}: a date.
DRIFTS = (
    "Step {n}: I will now write the file and then run the tests again.\n",
    "{n}. The committee met, read the minutes, and adjourned without a vote.\n",
    "Wait, let me check that again. Attempt {n}: the answer is still not right, so I will try once more.\n",
    "Let me try a different approach (attempt {n}). I need to read the error message first.\n\n",
    "On {day}, the weather was fine and the harbour was quiet. Nothing else happened that day.\n",
    "Day {n}. I went to the market and bought bread. The baker said hello.\n",
    "## Chapter {n}\n\nThe old man looked at the sea. He thought of the fish that he had lost, and of the boy.\n\n",
    "Question {n}: What is the capital of France? Answer: The capital of France is Paris.\n",
    "Actually, I made a mistake in line {n}. Let me correct the mistake and write the whole function again.\n",
    "The year {n} was a good year for the village. The harvest was good, and the people were happy.\n",
    "I have now read file {n} of the project. It looks fine, and I will go on with the next file.\n\n",
    "User: Please go on.\nAssistant: Of course. Here is part {n} of the story. The king rode through the wood.\n",
    "It was {day}. She wrote a letter to her brother, and her brother did not answer.\n\n",
    "For example, if x is {n}, then the function returns true. If it is not, the function returns false.\n",
    "Note {n}: This section is left for the reader. See the next section for more details.\n",
    "And then he counted to {word}, and the crowd cheered, and the music went on playing for a while. ",
    "This is reason number {word}. It is a good reason, and nobody in the room could say anything against it. ",
    "Schritt {n}: Ich schreibe jetzt die Datei und führe danach die Tests noch einmal aus.\n",
    "Шаг {n}. Теперь я напишу файл и снова запущу тесты. Потом я прочитаю ошибку.\n",
    "Étape {n} : je vais maintenant écrire le fichier et relancer les tests, puis je lirai les erreurs.\n",
    "第{n}步：现在我要写这个文件，然后再运行测试，最后检查结果。如果有错误，我就再试一次，直到没有错误为止。\n",
    "Thank you for your message of {day}. We have received it, and we will answer as soon as we can.\n\n",
    "In round {n}, the model predicts the same token. The loss does not change, so the training goes on.\n",
    "Sorry, that was not what you asked for. Version {n} of the poem:\n\nRoses are red, violets are blue, sugar is sweet.\n\n",
    "The train leaves at {n} o'clock. The train arrives an hour later. The passengers leave the train.\n",
    "Verse {n}. And the people of the town came to the river, and they sang, and they went home again.\n",
)
#: Loops that look as rows of data do. Nothing tells them from data.
ROWS_KIND = "rows with a counter"
ROWS = (
    "| {n} | 0 | 0 | open |\n",
    '{{"id": {n}, "name": "item {n}", "value": 0}},\n',
    "{n},Smith,Engineer,Berlin,active\n",
    "def test_{n}():\n    assert f({n}) == {n}\n\n",
    "<li><a href='/page/{n}'>Page {n}</a></li>\n",
    "2026-11-30 12:00:{n} INFO worker {n} has finished its job\n",
)


def loops(number: int, seed: int = 1) -> Iterator[Loop]:
    """Give loops after a beginning, ``number`` blocks of different sizes among them."""
    chosen = random.Random(seed)
    whole = document("a loop", 2 * LENGTH)
    for turn in range(number):
        # From one character to a quarter of the fewest that are a loop.
        size = min(round(1.25**turn), 4096) if turn < 38 else chosen.randrange(1, 4096)
        place = chosen.randrange(len(whole) - size)
        yield _after(chosen, "one block", itertools.repeat(whole[place : place + size]), size)
    for form in DRIFTS:
        kind = "prose with a number in words" if "{word}" in form else "prose with a counter or a date"
        yield _after(chosen, kind, _drifting(form, chosen))


def rows(seed: int = 1) -> Iterator[Loop]:
    """Give loops that look as rows of data do."""
    chosen = random.Random(seed)
    for form in ROWS:
        yield _after(chosen, ROWS_KIND, _drifting(form, chosen))


def _after(chosen: random.Random, kind: str, blocks: Iterator[str], size: int | None = None) -> Loop:
    before = document(f"before {chosen.random()}", chosen.randrange(100, 3000))
    text = before
    while len(text) < LENGTH:
        text += next(blocks)
    return Loop(kind, text, len(before), size)


def _drifting(form: str, chosen: random.Random) -> Iterator[str]:
    first, ways = chosen.randrange(2, 300), (_iso, _long, _short)
    day, way = date(2026, 1, 1) + timedelta(days=first), chosen.choice(ways)
    for number in itertools.count(first):
        yield form.format(n=number, word=_in_words(number), day=way(day + timedelta(days=number)))


def _iso(day: date) -> str:
    return day.isoformat()


def _long(day: date) -> str:
    return f"{_DAYS[day.weekday()]}, {_MONTHS[day.month - 1]} {day.day}, {day.year}"


def _short(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _in_words(number: int) -> str:
    if number >= 100:
        rest = number % 100
        return f"{_in_words(number // 100)} hundred" + (f" and {_in_words(rest)}" if rest else "")
    if number >= 20:
        return _TENS[number // 10] + (f"-{_ONES[number % 10]}" if number % 10 else "")
    return _ONES[number]


# Repetition for a reason.


def files(number: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Give texts of files that Python and its packages ship, evenly of each kind of file, with their names."""
    chosen = random.Random(seed)
    by_kind: dict[str, list[Path]] = {}
    for root in (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")):
        # rglob() and is_file() would ask the disk for each file once more.
        for path in sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names):
            if path.suffix not in {".pyc", ".so", ".exe"}:
                by_kind.setdefault(path.suffix or path.name, []).append(path)
    kinds = sorted(by_kind)
    for kind in itertools.islice(itertools.cycle(kinds), number):
        path = chosen.choice(by_kind[kind])
        try:
            text = path.read_text("utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        start = chosen.randrange(max(len(text) - LENGTH, 1))
        yield path.name, text[start : start + LENGTH]


def licences() -> Iterator[tuple[str, str]]:
    """Give the notices of packages: each licence text over and over, with other names."""
    for path in sorted(Path(sysconfig.get_path("purelib")).glob("*.dist-info/**/LICEN*")):
        text = path.read_text("utf-8", errors="replace")
        notices = (
            f"package-{n} {n % 7}.{n}\nCopyright (c) {2000 + n % 26} {_name(n)}\n\n{text}\n\n" for n in range(1000)
        )
        yield path.parts[-2], _filled(notices)


def made(size: int) -> Iterator[tuple[str, str]]:
    """Give tables, data, drawings, logs and verse. ``size``: most characters of rows that are equal."""
    for name, make in _MADE.items():
        yield name, _filled(make(n) for n in itertools.count())
    for name, row in _EQUAL.items():
        equal = (row * (size // len(row) + 1))[:size]
        yield name, f"{document(name, 500)}\n{equal}\n{document(name + ' after', 1000)}\n{equal}\n"
    bottles = (
        f"{n} bottles of beer on the wall, {n} bottles of beer.\nTake one down and pass it around.\n\n"
        for n in range(99, 0, -1)
    )
    yield "a song that counts", "".join(bottles)
    yield "verse with a refrain", _filled(document(f"verse {n}", 300) + _REFRAIN for n in itertools.count())


_REFRAIN = (
    "\n\nAnd the wind blows over the water,\nand the wind blows over the sea,\nand nobody knows where it came from.\n\n"
)
_FIRST = ("Anna", "Bela", "Chen", "Dana", "Egon", "Fatou", "Goran", "Hana", "Ivo", "Jun", "Kira", "Liam", "Mona")
_LAST = ("Arp", "Bauer", "Costa", "Diaz", "Ek", "Fuchs", "Gill", "Haas", "Ito", "Jung", "Kovacs")


def _name(number: int) -> str:
    return f"{_FIRST[number % 13]} {_LAST[number % 11]}"


def _one_of(number: int, *words: str) -> str:
    """Return one of the words, in no order that repeats itself soon."""
    return words[random.Random(number).randrange(len(words))]


#: A row of each kind, by its number.
_MADE: dict[str, Callable[[int], str]] = {
    "CSV": lambda n: f"{n},{_name(n)},Engineer,Berlin,{n % 9}000,active\n",
    "CSV, zeros": lambda n: f"{n},0,0,0,0,0,0,0\n",
    "JSON": lambda n: json.dumps({"id": n, "name": f"item {n}", "tags": ["a", "b"], "value": 0}, indent=2) + ",\n",
    "GeoJSON": lambda n: json.dumps({"type": "Feature", "geometry": {"type": "Point", "coordinates": [n, 0]}}) + ",\n",
    "SQL": lambda n: f"INSERT INTO people (id, name, city) VALUES ({n}, '{_name(n)}', 'Berlin');\n",
    "Markdown table": lambda n: f"| {n} | open | none | The door is closed. |\n",
    "empty table": lambda n: f"| {n} |  |  |  |  |\n",
    "HTML": lambda n: f"<tr><td>{n}</td><td>Open</td><td><a href='/{n}'>Read more.</a></td></tr>\n",
    "YAML": lambda n: f"- name: server-{n}\n  image: nginx\n  ports:\n    - 80\n  restart: always\n",
    "code": lambda n: f"def test_case_{n}():\n    assert compute({n}) == {n * 7}\n\n\n",
    "assembler": lambda n: f"    mov eax, [rbp - {n * 4}]\n    add eax, 1\n    mov [rbp - {n * 4}], eax\n",
    "access log": lambda n: (
        f'10.0.0.{n % 256} - - [30/Nov/2026:12:{n // 60 % 60:02}:{n % 60:02}] "GET / HTTP/1.1" 200 612\n'
    ),
    "log": lambda n: (
        f"2026-11-30 12:{n // 60 % 60:02}:{n % 60:02},{n % 1000:03} INFO worker: job {n} has finished. Next.\n"
    ),
    "progress": lambda n: f"Epoch {n}/9999: loss 0.{n % 977:03}, accuracy 0.9{n % 97:02}. Saved.\n",
    "list": lambda n: f"{n}. {_name(n)}\n",
    "numbers": lambda n: f"{n}, ",
    "table of products": lambda n: f"{n} x {n + 1} = {n * (n + 1)}\n",
    "hexadecimal": lambda n: f"{n * 16:08x}  00 00 00 00 00 00 00 00  {n % 256:02x} 00 00 00 00 00 00 00\n",
    "base64": lambda n: base64.b64encode(random.Random(n).randbytes(57)).decode() + "\n",
    "subtitles": lambda n: (
        f"{n}\n00:{n // 60 % 60:02}:{n % 60:02},000 --> 00:{n // 60 % 60:02}:{n % 60:02},900\n{_name(n)}: Yes.\n\n"
    ),
    "drawing": lambda n: " " * (n % 40) + "*" * 8 + "#" * (n % 13) + "\n",
    "tests": lambda n: f"tests/core/test_rounds.py::test_case[{n}] PASSED\n",
    "addresses": lambda n: (
        f"Dear {_name(n)},\n\nyour order {n * 7919 % 10**6} has left our house and will be with you soon. Thank you.\n\n"
    ),
    "inspection": lambda n: (
        f"Room {n}: The smoke detector {_one_of(n, 'works', 'is missing', 'is defective')}. The fire extinguisher "
        f"{_one_of(n * 7, 'is present', 'is missing', 'has expired')}. The light "
        f"{_one_of(n * 11, 'works', 'is defective')}. The door {_one_of(n * 13, 'closes', 'does not close')}.\n"
    ),
    "invitations": lambda n: (
        f"Dear {_name(n)},\n\nWe are delighted to invite you to our annual dinner. The evening begins with a reception "
        "in the main hall, followed by a meal and live music. Please let us know whether you will be able to attend.\n\n"
    ),
    "chess": lambda n: (
        f"Move {n}: White plays {'abcdefgh'[n * 7919 % 61 % 8]}{n * 104729 % 59 % 8 + 1}, and Black answers "
        f"{'abcdefgh'[n * 1299709 % 53 % 8]}{n * 15485863 % 47 % 8 + 1}. The position is equal. "
    ),
    "measurements": lambda n: (
        f"At step {n}, the agent is at position {random.Random(n).randrange(99)}. It looks at the neighbouring cells and chooses the one "
        f"with the lowest cost, which is {random.Random(-n).randrange(99)}. It then moves there and updates its table.\n"
    ),
    "daily report": lambda n: (
        f"Day {n}: The weather is {_one_of(n, 'sunny', 'rainy', 'cloudy', 'windy', 'snowy')}. The patient took the "
        "medication in the morning and in the evening, ate well, and slept through the night without complaints.\n"
    ),
    "dialogue": lambda n: f'"{document(f"said {n}", 60)}" said {_name(n)}.\n',
}
#: A row that stands over and over, to the letter.
_EQUAL = {
    "zeros": "0",
    "zeros in a list": "0, ",
    "equal CSV rows": "0,0,0,none,0.0\n",
    "equal JSON rows": '{"x": 0, "y": 0, "label": null},\n',
    "base64 of zeros": "A" * 76 + "\n",
    "a rule": "=",
    "a chessboard": "# # # # # # # #\n # # # # # # # \n",
    "equal log lines": "INFO Waiting for the lock. It is held by another process.\n",
    "a mantra": "All work and no play makes Jack a dull boy. ",
}


def _filled(parts: Iterator[str]) -> str:
    text: list[str] = []
    size = 0
    while size < LENGTH and (part := next(parts, "")):
        text.append(part)
        size += len(part)
    return "".join(text)


# Judging.


def noticed_at(text: str, characters: int) -> int | None:
    """Return how much of a text a stream brings until it is taken for a loop; None if it never is."""
    watch = LoopWatch(characters)
    for place in range(0, len(text), PIECE):
        watch.take(text[place : place + PIECE])
        if watch.is_looping:
            return min(place + PIECE, len(text))
    return None
