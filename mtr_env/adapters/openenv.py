"""OpenEnv 0.10: episodes behind a server (``mtr-env serve``), and a client for it.

    with MTRClient("http://127.0.0.1:8000").sync() as env:
        begun = env.reset(seed=0)                                 # observation.tools, metadata["messages"]
        seen = env.step(call_action("search", {"query": "..."}))  # observation.result: JSON text for the model
        last = env.step(end_action("Paris"))                      # reward, metadata["log"]

An episode is a :class:`~mtr_env.session.ToolSession`: each tool call is a step, and so is the answer.

- ``done``: the episode is over. Then ``metadata`` has ``terminated`` (an answer), ``truncated`` (``max_steps``, an
  outage, or a policy that stopped without an answer), ``stop_reason`` (``answer``, ``max_steps``, ``infrastructure``;
  ``None`` for the last of these), ``unscored`` (``None`` or why) and ``log`` (reward, parts and metrics by name).
- ``reward`` is that of the whole episode in the last observation (one after the end says the same again), ``None`` in
  every other, and ``None``, never 0, when the episode is unscored.
- A policy's mistake is a ``result`` with an error object; it raises nothing.

Needs the extra ``openenv``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from mtr_env.episode import Game
from mtr_env.errors import MTRError, UnknownQuestionError
from mtr_env.extras import needed
from mtr_env.serving import Limits
from mtr_env.session import ToolSession
from mtr_env.text import as_unicode
from mtr_env.trace import Trace
from mtr_env.version import __version__

with needed("openenv", "The OpenEnv adapter"):
    from openenv.core.client_types import StepResult
    from openenv.core.env_client import EnvClient
    from openenv.core.env_server import (
        CallToolAction,
        CallToolObservation,
        Environment,
        ListToolsAction,
        ListToolsObservation,
        State,
        Tool,
        ToolError,
        ToolErrorType,
        create_fastapi_app,
    )
    from openenv.core.env_server.types import ConcurrencyConfig, EnvironmentMetadata

MOST_LISTED = 10_000
"""Tasks that ``list_tasks`` lists; ``num_tasks`` counts them all."""

Keep = Callable[[Trace], None]
_RAW = "raw_arguments"
_LAST = "last_message"


class BadRequest(MTRError, ValueError):
    """A client asked for what there is not: an argument of the wrong type, an unknown split or task."""


def call_action(name: str, arguments: Any) -> CallToolAction:
    """A policy's tool call, whatever it wrote: ``arguments`` that are no JSON object (a text, for instance) are sent
    as they are, and the server makes a fault of them, as it does of every other mistake."""
    name = as_unicode(name)
    if isinstance(arguments, dict):
        return CallToolAction(tool_name=name, arguments=arguments)
    return CallToolAction(tool_name=name, metadata={_RAW: arguments})


def end_action(last_message: str = "") -> CallToolAction:
    """The policy's last message, which calls no tool: its text is the answer (see :mod:`mtr_env.session`). Without a
    text the policy stopped without an answer, which is paid as if ``max_steps`` had ended the episode there."""
    return CallToolAction(tool_name="submit_answer", metadata={_LAST: as_unicode(last_message)})


class MTREnvironment(Environment):
    """One client's episodes of ``game``, one after the other. ``keep`` is given the trace of each that was begun, when
    it is over or left. The server makes one of these for each session."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    REQUIRES_SINGLE_THREAD_EXECUTOR = True  # one thread for the server, instead of one that idles for each session

    def __init__(self, game: Game, keep: Keep = lambda trace: None) -> None:
        super().__init__()
        self._game = game
        self._keep = keep
        self._session: ToolSession | None = None
        self._kept = True
        self._state = State()
        self._one_at_a_time = asyncio.Lock()  # several HTTP requests may name one session

    # ---------------------------------------------------------------------------------------------------- the episode

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        question_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
    ) -> ListToolsObservation:
        """Begins an episode: of ``question_id``, of the task ``index``, or of the question that the seed picks.

        Args:
            seed: From 0 to 2**63 - 1; a random one unless given, and the observation's ``metadata`` says which.
            episode_id: A name of yours, for ``state``.
            question_id: The id of a question.
            split: The world has one; another name is refused.
            index: The number of a question, from 0.

        The observation has the question's tools; its ``metadata`` the start of the conversation (``messages``) and
        ``question_id``, ``seed``, ``split``, ``world``, ``max_steps``. Raises :class:`BadRequest` and
        ``UnknownQuestionError``, which leave the episode before as it was.
        """
        question, seed = self._start(seed, episode_id, question_id, split, index)
        return self._begun(ToolSession(self._game, question, seed), episode_id)

    async def reset_async(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        question_id: str | None = None,
        split: str | None = None,
        index: int | None = None,
    ) -> ListToolsObservation:
        """As :meth:`reset`, awaiting a ToolMaker that can be awaited."""
        question, seed = self._start(seed, episode_id, question_id, split, index)
        async with self._one_at_a_time:
            return self._begun(await ToolSession.abegin(self._game, question, seed), episode_id)

    def step(
        self, action: CallToolAction | ListToolsAction, timeout_s: float | None = None
    ) -> CallToolObservation | ListToolsObservation:
        """One call (:func:`call_action`), the last message (:func:`end_action`), or the list of tools, which is no
        step. Raises nothing that a policy could cause; ``timeout_s`` is OpenEnv's and changes nothing here."""
        session = self._session
        if isinstance(action, ListToolsAction):
            return ListToolsObservation(tools=_tools(session))
        if session is None:
            return _no_episode(action)
        if _LAST in action.metadata:
            last = action.metadata[_LAST]
            session.end(last if isinstance(last, str) else "")
            return self._seen(session, action, None, over=True)
        return self._seen(session, action, session.call(action.tool_name, _arguments(action)))

    async def step_async(
        self, action: CallToolAction | ListToolsAction, timeout_s: float | None = None
    ) -> CallToolObservation | ListToolsObservation:
        """As :meth:`step`, awaiting a ToolActor that can be awaited."""
        async with self._one_at_a_time:
            session = self._session
            if session is None or isinstance(action, ListToolsAction) or _LAST in action.metadata:
                return self.step(action)
            return self._seen(session, action, await session.acall(action.tool_name, _arguments(action)))

    @property
    def state(self) -> State:
        """``episode_id``, ``step_count``, and of the episode ``question_id``, ``seed`` and ``stop_reason``."""
        return self._state

    def close(self) -> None:
        """Ends the session; an episode under way is left."""
        self._leave()
        self._session = None

    def get_metadata(self) -> EnvironmentMetadata:
        """What the world is."""
        setup = self._game.setup
        about = f"{setup.world.name}, split {setup.world.split}: {len(self._game.world.ids)} questions with tools"
        return EnvironmentMetadata(name=_name(self._game), description=about, version=__version__)

    def _start(self, seed: Any, episode_id: Any, question_id: Any, split: Any, index: Any) -> tuple[str, int]:
        if seed is None:
            seed = secrets.randbelow(2**31)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise BadRequest(f"seed must be an integer from 0 to 2**63 - 1, found {_shown(seed)}.")
        for name, value in (("episode_id", episode_id), ("question_id", question_id), ("split", split)):
            if value is not None and not isinstance(value, str):
                raise BadRequest(f"{name} must be a text, found {_shown(value)}.")
        if split is not None:
            self._check_split(split)
        if question_id is not None and index is not None:
            raise BadRequest("Give either question_id or index, not both.")
        if index is not None:
            question_id = self._id_at(index)
        return self._game.question_for(seed) if question_id is None else question_id, seed

    def _begun(self, session: ToolSession, episode_id: str | None) -> ListToolsObservation:
        self._leave()
        trace, setup = session.trace, self._game.setup
        question_id, seed = trace.question.id, trace.seed
        name = None if episode_id is None else as_unicode(episode_id)
        self._state = State(episode_id=name, question_id=question_id, seed=seed, stop_reason=trace.stop_reason)
        about = {
            "question_id": question_id,
            "seed": seed,
            "messages": session.messages,
            "split": setup.world.split,
            "world": setup.world.name,
            "max_steps": setup.max_steps,
        }
        self._session, self._kept = session, False
        if session.done:  # its tools could not be made
            self._leave()
            about |= session.outcome()[1]
        return ListToolsObservation(tools=_tools(session), done=session.done, metadata=about)

    def _seen(
        self, session: ToolSession, action: CallToolAction, result: str | None, *, over: bool = False
    ) -> CallToolObservation:
        """What the client is told of a step; ``over``: that it ends the episode, also one without an answer."""
        self._state.step_count = len(session.trace.steps)
        if not (over or session.done):
            return _observation(action, result=result)
        self._state.stop_reason = session.trace.stop_reason
        self._leave()
        if not session.done:
            self._session = None
        reward, about = session.outcome()
        return _observation(action, result=result, done=True, reward=reward, metadata=about)

    def _leave(self) -> None:
        if self._session is not None and not self._kept:
            self._kept = True
            self._keep(self._session.trace)

    # ------------------------------------------------------------------------------------------------------ the tasks

    def list_splits(self) -> list[dict[str, str]]:
        """The one split of the world; its type is ``validation`` where OpenEnv has no such name."""
        name = self._game.setup.world.split
        return [{"name": name, "type": name if name in ("train", "test") else "validation"}]

    def num_tasks(self, split: str) -> int:
        """How many questions there are."""
        self._check_split(split)
        return len(self._game.world.ids)

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """The first :data:`MOST_LISTED` questions."""
        return self.get_task_range(split, 0, MOST_LISTED)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """A question's ``id`` and ``index``. Raises :class:`BadRequest` where there is none."""
        self._check_split(split)
        return {"id": self._id_at(index), "index": index}

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, Any]]:
        """The questions from ``start`` up to ``stop``, at most :data:`MOST_LISTED`, as a slice of a list has them."""
        self._check_split(split)
        ids = self._game.world.ids
        return [{"id": ids[i], "index": i} for i in range(*slice(start, stop).indices(len(ids)))[:MOST_LISTED]]

    def _check_split(self, split: str) -> None:
        there = self._game.setup.world.split
        if split != there:
            raise BadRequest(f"No split {_shown(split)}; this world is the split {there!r}.")

    def _id_at(self, index: Any) -> str:
        ids = self._game.world.ids
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(ids):
            raise BadRequest(f"index must be an integer from 0 to {len(ids) - 1}, found {_shown(index)}.")
        return ids[index]


def make_app(game: Game, *, limits: Limits | None = None, keep: Keep = lambda trace: None) -> Any:
    """OpenEnv's FastAPI application for the episodes of ``game``; run it with :func:`mtr_env.serving.make_server`, as
    ``mtr-env serve`` does. Every WebSocket session has an environment of its own; what it asks of a ToolActor that can
    be awaited holds up no other session."""
    from fastapi.responses import JSONResponse

    limits = limits or Limits()
    application = create_fastapi_app(
        partial(MTREnvironment, game, keep),
        CallToolAction,
        CallToolObservation,
        concurrency_config=ConcurrencyConfig(max_concurrent_envs=limits.max_sessions, session_timeout=limits.idle_s),
        env_name=_name(game),
        reset_observation_cls=ListToolsObservation,
        mode="simulation",
    )

    async def refuse(request: Any, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    for kind in (BadRequest, UnknownQuestionError):
        application.add_exception_handler(kind, refuse)
    return application


class MTRClient(EnvClient):
    """A client of the server: one session, as many episodes as you like. In ``async`` code ``await`` its methods, else
    use ``MTRClient(...).sync()``; ``reset`` takes what :meth:`MTREnvironment.reset` takes.

    Args:
        base_url: The server's.
        token: The one that the server was started with.
        **options: Those of OpenEnv's ``EnvClient``.

    Raises ``ConnectionError`` when there is no server or the token is wrong, ``RuntimeError`` with the server's reason
    when it refuses something (no session left, an unknown question).
    """

    def __init__(self, base_url: str, *, token: str | None = None, **options: Any) -> None:
        if token is not None:
            options["headers"] = {**(options.get("headers") or {}), "Authorization": f"Bearer {token}"}
        super().__init__(base_url, **{"mode": "simulation"} | options)

    def _step_payload(self, action: CallToolAction | ListToolsAction) -> dict[str, Any]:
        payload: dict[str, Any] = action.model_dump()
        return payload

    def _parse_result(self, payload: dict[str, Any]) -> StepResult:
        observation, reward, done = payload["observation"], payload["reward"], payload["done"]
        kind = ListToolsObservation if "tools" in observation else CallToolObservation
        made = kind(**observation, reward=reward, done=done)
        return StepResult(observation=made, reward=reward, done=done, metadata=made.metadata)

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)


def _arguments(action: CallToolAction) -> Any:
    return action.metadata.get(_RAW, action.arguments)


def _tools(session: ToolSession | None) -> list[Tool]:
    specs = () if session is None else session.specs
    return [Tool(name=spec.name, description=spec.description, input_schema=spec.parameters) for spec in specs]


def _no_episode(action: CallToolAction) -> CallToolObservation:
    error = ToolError(
        error_type=ToolErrorType.EXECUTION_ERROR,
        message="No episode is under way in this session: reset begins one. POST /reset and /step keep no session; "
        "play over the WebSocket /ws.",
    )
    return _observation(action, error=error)


def _observation(action: CallToolAction, **said: Any) -> CallToolObservation:
    return CallToolObservation(tool_name=as_unicode(action.tool_name), **said)  # else OpenEnv could not send it


def _name(game: Game) -> str:
    return game.setup.env_id or game.setup.world.name


def _shown(value: Any) -> str:
    return ascii(value)[:80]
