"""A document whose text is awkward for who looks for its end."""

from __future__ import annotations

from pydantic import BaseModel


class Item(BaseModel):
    id: int
    name: str
    note: str


class Listing(BaseModel):
    title: str
    items: list[Item]


NOTES = ('"}]}\n{"', "tab\tand \\ back", "日本語…", "0, 0, 0,", "  blanks  ", "}", '\\"', "")
LISTING = Listing(
    title='{"odd": [',
    items=[Item(id=number, name=f"item {number}", note=NOTES[number % len(NOTES)]) for number in range(12)],
)
