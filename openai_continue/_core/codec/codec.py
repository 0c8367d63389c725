"""What every codec does: it writes the text so far into the body of a further round, and reads what comes of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..json import Json
from ..text.seam import Seam, Stopped
from .draft import Draft
from .tail import Tail


class Read(NamedTuple):
    """What was read of a chunk."""

    #: The chunk, in the shape of chat.
    chunk: Json
    #: What the model itself has written, if that was read.
    written: str = ""
    #: Why the round does not go on from the text, or None.
    stopped: Stopped | None = None
    #: Why the choice must not be continued (a value of ``Report.stopped_by``), or None.
    barred: str | None = None


class Codec(Protocol):
    """
    How the answer of a choice goes back to the server, and how what comes is read.

    ``write()`` begins a round; ``read()`` is called once with each chunk of it. A whole answer is one chunk.
    """

    @property
    def is_raw(self) -> bool:
        """Whether it writes a prompt for ``/completions``, and no message."""
        ...

    @property
    def tail(self) -> Tail:
        """How much is held back at its seams."""
        ...

    @property
    def has_other_form(self) -> bool:
        """Whether an answer after thoughts can go back in another form, which this call has not tried."""
        ...

    @property
    def can_answer(self) -> bool:
        """Whether an answer can be asked for without further thoughts."""
        ...

    def bar(self, draft: Draft) -> str | None:
        """Return why this text cannot go back (a value of ``Report.stopped_by``), or None if it can."""
        ...

    def write(self, body: Json, draft: Draft) -> tuple[Json, Seam]:
        """Return the body with the text so far, and the seam where the next round meets it."""
        ...

    def read(self, chunk: Json) -> Read:
        """Read a chunk."""
        ...

    def rest(self) -> Json:
        """Return as a delta what was read and is not given out yet: the answer ends here."""
        ...
