"""
Write a book: a table of contents, then each section by one call, however long it gets, into a file as the text comes.

    pip install 'openai-continue[journal]'
    export OPENAI_BASE_URL=https://api.deepinfra.com/v1/openai OPENAI_API_KEY=$DEEPINFRA_API_KEY
    python book.py "the history of lighthouses" lighthouses

The sections are lighthouses/01.md, 02.md and so on. If the program is killed, start it again: finished sections are not
asked for again, and the one that broke off goes on from what the journal has of it.
"""

import sys
from pathlib import Path

import openai

import openai_continue

MODEL = "deepseek-ai/DeepSeek-V3.2"


def write(client: openai.OpenAI, prompt: str, path: Path) -> str:
    """Write the answer to a prompt into a file while it comes, unless the file is there; return it."""
    if not path.exists():
        part = path.with_suffix(".part")
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": prompt}],
            stream=True,
            extra_body={"continuation": {"journal": str(path.parent / "journal")}},
        )
        chunk = end = None
        # A stream that goes on after a crash first gives what the journal has, so the file begins anew.
        with stream, part.open("w", encoding="utf-8") as file:
            for chunk in stream:
                for choice in chunk.choices:
                    print(choice.delta.content or "", end="", file=file, flush=True)
                    end = choice.finish_reason or end
        if end != "stop":
            sys.exit(f"{part} is not whole: {openai_continue.report_of(chunk) or end}")
        part.rename(path)
    return path.read_text(encoding="utf-8")


subject, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
openai_continue.patch()
with openai.OpenAI() as client:
    wish = f"Write the table of contents of a book on {subject}: the titles of the sections, one a line, nothing else."
    contents = write(client, wish, folder / "contents.md")
    for number, title in enumerate(filter(str.strip, contents.splitlines()), 1):
        print(number, title)
        wish = f"This is the table of contents of a book on {subject}:\n\n{contents}\n\nWrite the section {title!r}."
        write(client, wish, folder / f"{number:02}.md")
