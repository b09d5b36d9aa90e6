"""A policy by its name: a built-in one, or ``module:attr`` of anybody's module."""

from __future__ import annotations

import importlib
import inspect
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mtr_env.episode import Game
from mtr_env.policies import POLICY_NAMES, make_policy
from mtr_env.policies.base import AnyPolicy, EpisodicPolicy


def load_policy(name: str, game: Game) -> AnyPolicy:
    """The policy called ``name`` for the episodes of ``game``.

    ``module:attr`` is a :class:`~mtr_env.policies.base.Policy` (called with messages and tools; may be ``async``), an
    :class:`~mtr_env.policies.base.EpisodicPolicy`, or a class or function without arguments that makes one,
    once. Raises ``ValueError`` for an unknown name or something else than a policy, ``ImportError`` when the module
    cannot be found.
    """
    if ":" in name:
        return _imported(name)
    try:
        return make_policy(name, game.grammar, max_steps=game.setup.max_steps, actor=game.tool_actor)
    except ValueError as error:
        if name in POLICY_NAMES:
            raise
        raise ValueError(f"{error} A policy of yours is given as module:attr.") from None


def source_digest(name: str) -> str | None:
    """Sixteen hexadecimal digits of the source file of the module in ``module:attr``; ``None`` for another name, or a
    module that was not loaded from a file. What that module imports is not looked at."""
    module, colon, _ = name.partition(":")
    file = getattr(sys.modules.get(module), "__file__", None) if colon else None
    try:
        return None if file is None else blake2b(Path(file).read_bytes(), digest_size=8).hexdigest()
    except OSError:
        return None


def load_object(name: str, what: str) -> Any:
    """What ``module:attr`` names; ``what`` (``"Policy"``) stands in errors. Raises ``ValueError`` when the module does
    not have it, ``ImportError`` when there is no such module."""
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and what it imports is not
        raise ImportError(f"{what} {name!r}: there is no module {error.name!r}.") from None
    except ValueError as error:  # an empty name
        raise ValueError(f"{what} {name!r}: expected module:attr; {error}.") from None
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            raise ValueError(f"{what} {name!r}: {module_name} has no {path!r}.")
        found = getattr(found, attribute)
    return found


def load_plug(name: str, what: str, method: str) -> Any:
    """The plug that ``module:attr`` names: an object with ``name`` and ``method``, or a class or function without
    arguments that makes one. Raises as :func:`load_object`, and ``ValueError`` for something else."""
    found = load_object(name, what)
    if isinstance(found, type) or (not hasattr(found, method) and _takes(found, 0)):
        if not _takes(found, 0):
            raise ValueError(f"{what} {name!r}: expected a class or factory that takes no arguments.")
        found = found()
    if not hasattr(found, "name") or not hasattr(found, method):
        raise ValueError(
            f"{what} {name!r}: expected an object with `name` and `{method}`, found {type(found).__name__}."
        )
    return found


def _imported(name: str) -> AnyPolicy:
    found = load_object(name, "Policy")
    if isinstance(found, type) or (_takes(found, 0) and not _takes(found, 2)):
        if not _takes(found, 0):
            raise ValueError(f"Policy {name!r}: expected a class or factory that takes no arguments.")
        found = found()
    if not isinstance(found, EpisodicPolicy) and not _takes(found, 2):
        raise ValueError(
            f"Policy {name!r}: expected a callable of (messages, tools), or an object with for_episode(trace), found "
            f"{type(found).__name__}."
        )
    policy: AnyPolicy = found
    return policy


def _takes(value: Any, count: int) -> bool:
    """Whether something can be called with ``count`` positional arguments (a callable without a signature can)."""
    if not callable(value):
        return False
    try:
        inspect.signature(value).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
