"""Exceptions: for bugs of the caller, bad files and outages. A policy's mistake is a fault, not an exception."""

from __future__ import annotations


class MTRError(Exception):
    """Base class of the package's own exceptions."""


class DatasetError(MTRError, ValueError):
    """A file, row or split that cannot be used; the message names file, line, what was expected and found."""


class ToolsetError(MTRError, ValueError):
    """A toolset that breaks a rule: an invalid schema, an unportable name, a leak, or over the size budget."""


class PromptError(MTRError, ValueError):
    """A prompt that leaves no room for an action in the tokens that an episode may have."""


class UnknownQuestionError(MTRError, KeyError):
    """A question id that the world does not hold."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class InfrastructureError(MTRError, RuntimeError):
    """Raised by a ToolActor when the network, a quota or a disk failed: the episode ends unscored."""
