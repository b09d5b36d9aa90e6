"""The border to a ToolActor: somebody else's code, at the one effect of an episode.

An outage there, of whatever class, ends the episode that met it unscored and no other; so it is a value from here on.
A ``ToolsetError`` is no outage but a mistake in the set-up (tools that the actor cannot simulate at all): it is raised.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from mtr_env.errors import InfrastructureError, ToolsetError
from mtr_env.toolactors.base import BatchToolActor, ToolActor, ToolRequest
from mtr_env.trace import Response

logger = logging.getLogger("mtr_env")


def checked(response: object) -> Response:
    """What an actor returned; raises :class:`~mtr_env.errors.InfrastructureError` when that is no ``Response``."""
    if type(response) is not Response:
        raise InfrastructureError(f"a ToolActor returns a Response, found {type(response).__name__}")
    return response


def respond(actor: ToolActor, request: ToolRequest) -> Response | Exception:
    """An actor's response to one request, or what it raised; something else than a ``Response`` is an outage too."""
    try:
        return checked(actor.respond(request.call, request.spec, request.view, request.history, request.key))
    except Exception as error:  # any class: see the module's docstring
        return outage(error)


async def ask(actor: ToolActor, request: ToolRequest) -> Response:
    """An actor's response, awaited where it is an ``AsyncToolActor``; for actors around another one. Raises what the
    actor raises, and as :func:`checked`."""
    answer: Callable[[ToolRequest], Awaitable[Response]] | None = getattr(actor, "arespond", None)
    if answer is None:
        return checked(actor.respond(request.call, request.spec, request.view, request.history, request.key))
    return checked(await answer(request))


async def arespond(actor: ToolActor, request: ToolRequest) -> Response | Exception:
    """As :func:`respond`, without standing still where the actor is an ``AsyncToolActor``."""
    answer: Callable[[ToolRequest], Awaitable[Response]] | None = getattr(actor, "arespond", None)
    if answer is None:
        return respond(actor, request)
    try:
        return checked(await answer(request))
    except Exception as error:  # any class: see the module's docstring
        return outage(error)


def respond_many(actor: ToolActor, requests: Sequence[ToolRequest]) -> Sequence[Response | Exception]:
    """The responses to many requests: in one batch where the actor can, else one by one."""
    if not isinstance(actor, BatchToolActor):
        return [respond(actor, request) for request in requests]
    try:
        responses = actor.respond_many(requests)
        if len(responses) != len(requests):
            raise InfrastructureError(f"respond_many returned {len(responses)} responses to {len(requests)} requests.")
    except Exception as error:  # any class: see the module's docstring
        return [outage(error)] * len(requests)
    return [response if isinstance(response, Exception) else _value(response) for response in responses]


def _value(response: object) -> Response | Exception:
    try:
        return checked(response)
    except InfrastructureError as error:
        return outage(error)


def outage(error: Exception) -> Exception:
    """What an actor raised, as a value, written to the ``mtr_env`` log: the traceback once for each class, then a line
    each. Raises a ``ToolsetError``, which is none."""
    if isinstance(error, ToolsetError):
        raise error
    kind = type(error)
    logger.warning(
        "A ToolActor failed; the episode ends unscored. %s: %s",
        kind.__name__,
        error,
        exc_info=None if kind in _LOGGED else error,
    )
    _LOGGED.add(kind)
    return error


_LOGGED: set[type[BaseException]] = set()
