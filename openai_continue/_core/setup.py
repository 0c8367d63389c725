"""What is the same for all rounds of a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from .._tables.providers import Provider
from ..settings import Continuation
from .codec.endpoint import Endpoint
from .codec.raw import Rendered
from .learned import Learned
from .limit import Limit

#: Returns what the chat template makes of a body, or None if it cannot be said.
Render: TypeAlias = Callable[[Mapping[str, Any]], "Rendered | None"]


class Setup(NamedTuple):
    """What a call is made with."""

    #: The caller's request body; it is not changed.
    body: Mapping[str, Any]
    endpoint: Endpoint
    provider: Provider
    settings: Continuation
    #: What is known of this model's server from earlier calls; what this call shows is added to it.
    learned: Learned
    #: The token limit, if the server has refused another.
    limit: Limit | None = None
    #: The chat template, if later rounds go to ``/completions``.
    render: Render | None = None
    #: Whether the SDK checks the document of the answer.
    is_parsed: bool = False

    def __repr__(self) -> str:
        """Show nothing of the body."""
        return f"{type(self).__name__}(provider={self.provider.name!r})"
