"""The console of the commands."""

from __future__ import annotations

import rich.console


class Console(rich.console.Console):
    """That of rich, which leaves it to the command how to end if nobody reads what it prints."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, as older versions of rich do."""
        raise BrokenPipeError
