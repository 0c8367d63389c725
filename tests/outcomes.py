"""Only names here: all of it is in ``tests/support``. Until all tests have moved."""

from tests.support.answers import Answer as Outcome
from tests.support.answers import outcome
from tests.support.script import DONE, LOST, Pieces, Script, chunk, event

__all__ = ["DONE", "LOST", "Outcome", "Pieces", "Script", "chunk", "event", "outcome"]
