"""
What the model in ``calls_model/`` knows: files that it writes with tool calls, in two syntaxes.

The number of a line decides all of it. The lines hold what is awkward in JSON or in XML: quotes, backslashes, tabs,
empty lines, tags, characters beyond ASCII. A third of them have these as ``\\u00e9`` in JSON.
"""

from __future__ import annotations

import json

LAST = 90
ADJECTIVES = ["quiet", "crimson", "hollow", "bright", "ancient", "gentle", "frozen", "hidden", "restless", "golden"]
NOUNS = ["harbour", "lantern", "mountain", "engine", "garden", "mirror", "compass", "library", "orchard", "signal"]
TEXT = "Here is the file.\n"

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "write_file",
            "description": "Write a file.",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "content": {"type": "string"},
                    "last": {"type": "integer", "description": "The number of the last line."},
                },
                "required": ["path", "content"],
            },
        },
    }
]


def line(n: int) -> str:
    a, o = ADJECTIVES[n % 10], NOUNS[n // 10]
    return (
        f'{n}. <li class="{a}">{o} &amp; more</li>\n',
        f"{n}. The {a} {o} 🦊 — naïve café.\n",
        f"{n}. 日本語の{o}、{a}です。\n",
        f"{n}.\tcol\t{a}\t{o}\t\tend\n",
        f"{n}. code:\n\n    if x[\"{o}\"] > {n}:\n        return '\\t{a}\\n'\n\n",
        f"{n}. C:\\new\\{o}\\table.txt {a}  \n",
        f"{n}. “{a}” — señor {o}, Zürich!\n\n\n",
        f'{n}. {{"k": {n}, "v": ["{a}", null]}}\n',
        f"{n}. 👩‍🚀 {a}… </{o}> <tool {n}>\n",
        f"{n}. /re\\d+\\u00e9/ {a} {o}\n",
    )[n % 10]


def in_json(n: int) -> str:
    return json.dumps(line(n), ensure_ascii=n % 3 == 1)[1:-1]


def hermes(path: str, numbers: range, last: int | None) -> str:
    end = "" if last is None else f', "last": {last}'
    content = "".join(map(in_json, numbers))
    arguments = f'{{"path": "{path}", "content": "{content}"{end}}}'
    return f'<tool_call>\n{{"name": "write_file", "arguments": {arguments}}}\n</tool_call>'


def coder(path: str, numbers: range, last: int | None) -> str:
    values = {"path": path, "content": "".join(map(line, numbers))} | ({} if last is None else {"last": str(last)})
    parameters = "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in values.items())
    return f"<tool_call>\n<function=write_file>\n{parameters}</function>\n</tool_call>"


SYNTAXES = {"hermes": hermes, "coder": coder}


def prompts(first: int) -> dict[str, tuple[str, str]]:
    """Return for each prompt the syntax and the right answer, as the model writes it."""
    found = {}
    thirty, ten = (first - 1) // 30 * 30 + 30, (first - 1) // 10 * 10 + 10
    for syntax, call in SYNTAXES.items():
        word = "coder " if syntax == "coder" else ""
        one = call(f"list-{first}.txt", range(first, thirty + 1), None)
        found[f"Write the {word}file from {first}."] = syntax, one
        found[f"Say it, then write the {word}file from {first}."] = syntax, TEXT + one
        if ten < LAST:
            two = (
                call(f"part-{first}.txt", range(first, ten + 1), ten),
                call(f"part-{ten + 1}.txt", range(ten + 1, ten + 11), ten + 10),
            )
            found[f"Write two {word}files from {first}."] = syntax, "\n".join(two)
    return found


def calls_in(answer: str) -> list[tuple[str, dict[str, object]]]:
    """Return the name and the arguments of each call in an answer of the model."""
    found: list[tuple[str, dict[str, object]]] = []
    for part in answer.split("<tool_call>\n")[1:]:
        body = part.split("\n</tool_call>")[0]
        if body.startswith("{"):
            call = json.loads(body)
            found.append((call["name"], call["arguments"]))
        else:
            name = body.split(">")[0].removeprefix("<function=")
            pieces = body.split("<parameter=")[1:]
            values = {piece.split(">")[0]: piece.split(">\n", 1)[1].split("\n</parameter>")[0] for piece in pieces}
            found.append((name, {key: int(value) if key == "last" else value for key, value in values.items()}))
    return found
