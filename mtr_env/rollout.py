"""The episode loop: a policy plays an environment, and the trace is what remains.

:func:`play` plays one episode, :func:`aplay` awaits the policy and the tools, and :func:`aplay_many` has many episodes
under way at once, each of which goes on as soon as its own policy or tool has answered. The rules are the same ones: an
episode has the same trace in every form. Where an endpoint that a *policy* asks fails (it raises
:class:`~mtr_env.errors.InfrastructureError`), the episode ends unscored with the reason, as with a ToolActor's.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from mtr_env import collector
from mtr_env.env import MTREnv
from mtr_env.episode import Game, Turn, cut_short
from mtr_env.errors import InfrastructureError, MTRError
from mtr_env.policies.base import AnyPolicy, EpisodicPolicy, Policy, any_player, player
from mtr_env.toolactors import border
from mtr_env.toolactors.base import ToolRequest
from mtr_env.trace import Response, Trace
from mtr_env.transcript import messages

Result = TypeVar("Result")


class NotAnAction(MTRError, TypeError):
    """A policy returned something else than a string."""


def play(env: MTREnv, policy: Policy | EpisodicPolicy, *, question_id: str | None = None, seed: int = 0) -> Trace:
    """Plays one episode to its end and returns its trace.

    ``question_id`` picks the question (without it, the seed does). Raises what the policy raises, but for an
    ``InfrastructureError``, which ends the episode unscored; :class:`NotAnAction` when its action is not a string, and
    ``UnknownQuestionError``.
    """
    _, info = env.reset(seed=seed, options=None if question_id is None else {"question_id": question_id})
    begun = env.snapshot()
    if begun.stop_reason is not None:  # there are no tools
        return begun
    act = player(policy, begun)
    chat, tools = list(info["messages"]), info["tools"]
    while True:
        try:
            action = act(chat, tools)
        except InfrastructureError as error:
            return cut_short(env.snapshot(), "policy", error)
        if not isinstance(action, str):
            raise _not_an_action(act, action, begun)
        observation, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            trace: Trace = info["trace"]
            return trace
        chat += [{"role": "assistant", "content": action}, {"role": "user", "content": observation}]


async def aplay(env: MTREnv | Game, policy: AnyPolicy, *, question_id: str | None = None, seed: int = 0) -> Trace:
    """As :func:`play`, awaiting the policy's actions and the tools where they can be awaited.

    The environment itself is neither reset nor stepped. A policy, a ToolActor or a ToolMaker that is not asynchronous
    is called as it is, and everything else on the event loop waits meanwhile.
    """
    game = env.game if isinstance(env, MTREnv) else env
    if question_id is None:
        question_id = game.question_for(seed)
    stage, trace = await game.abegin(question_id, seed)
    if trace.stop_reason is not None:
        return trace
    act = any_player(policy, trace)
    answer: Callable[[ToolRequest], Awaitable[Response]] | None = getattr(game.tool_actor, "arespond", None)
    chat, tools = messages(trace, stage.prompt), stage.tools
    while True:
        try:
            action = act(chat, tools)
            if not isinstance(action, str) and inspect.isawaitable(action):
                action = await action
        except InfrastructureError as error:
            return cut_short(trace, "policy", error)
        if not isinstance(action, str):
            raise _not_an_action(act, action, trace)
        turn = Turn(stage, trace, str(action))
        while turn.waiting is not None:
            response: Response | Exception
            if answer is None:
                response = border.respond(game.tool_actor, turn.waiting)
            else:
                try:  # as border.arespond does: of ten thousand episodes that wait, each coroutine counts
                    response = border.checked(await answer(turn.waiting))
                except Exception as error:
                    response = border.outage(error)
            turn.receive(response)
        trace = turn.trace()
        if trace.stop_reason is not None:
            return trace
        chat += [
            {"role": "assistant", "content": action},
            {"role": "user", "content": trace.steps[-1].observation},
        ]


async def aplay_many(
    game: Game,
    policy: AnyPolicy,
    episodes: Iterable[tuple[str, int] | None],
    *,
    concurrency: int = 256,
) -> AsyncGenerator[Trace, None]:
    """Plays ``episodes``, pairs of question id and seed, and yields each trace as its episode ends.

    At most ``concurrency`` episodes are under way, and no more than that wait to be taken, so memory does not grow with
    their number (they may be a generator, which yields ``None`` while there is nothing to begin: it is asked again when
    one of those under way has ended and was taken, so there has to be one). The garbage collector looks less often
    meanwhile (:mod:`mtr_env.collector`). When an episode raises (a bug of the policy, an unknown question), no other
    begins; those under way end and are yielded, and then it is raised, with a note of the question and the seed.
    Whoever leaves the loop early wraps it in ``contextlib.aclosing``, so that the episodes under way end there.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, found {concurrency}.")
    playing = _Playing(game, policy, episodes, concurrency)
    with collector.seldom(concurrency):
        try:
            playing.begin()
            while playing.tasks or playing.ended:
                while playing.ended:
                    yield playing.ended.popleft()
                    playing.begin()
                playing.changed.clear()
                if playing.tasks:
                    await playing.changed.wait()
        finally:
            await playing.stop()
    if playing.failures:
        first, *others = playing.failures
        if others:
            first.add_note(f"mtr-env: {len(others)} more of the episodes under way raised.")
        raise first


def wait(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine to its end, for code that is not asynchronous: in a thread where this one has an event loop that
    runs already (a notebook, an asynchronous test), which stands still meanwhile."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class _Playing:
    """The episodes of :func:`aplay_many` under way: each is a task, and the end of one begins the next."""

    def __init__(
        self, game: Game, policy: AnyPolicy, episodes: Iterable[tuple[str, int] | None], concurrency: int
    ) -> None:
        self._game, self._policy, self._concurrency = game, policy, concurrency
        self._starts = iter(episodes)
        self.tasks: dict[asyncio.Task[Trace], tuple[str, int]] = {}
        self.ended: deque[Trace] = deque()
        self.failures: list[BaseException] = []
        self.changed = asyncio.Event()
        self._when_done, self._context = self._end, copy_context()  # one for all: tasks are many

    def begin(self) -> None:
        """Begins as many episodes as may be under way."""
        while len(self.tasks) < self._concurrency > len(self.ended) and not self.failures:
            try:
                start = next(self._starts, None)
            except Exception as error:
                self.failures.append(error)
                return
            if start is None:
                return
            question_id, seed = start
            task = asyncio.create_task(aplay(self._game, self._policy, question_id=question_id, seed=seed))
            self.tasks[task] = start
            task.add_done_callback(self._when_done, context=self._context)

    async def stop(self) -> None:
        """Ends the episodes under way; no other begins, though one of them may just have ended by itself."""
        self._starts = iter(())
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _end(self, task: asyncio.Task[Trace]) -> None:
        question_id, seed = self.tasks.pop(task)
        self.changed.set()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self.ended.append(task.result())
            self.begin()
            return
        error.add_note(note(question_id, seed))
        self.failures.append(error)


def note(question_id: str, seed: int) -> str:
    """What is added to an exception of an episode."""
    return f"mtr-env: this was question {question_id!r} with seed {seed}."


def _not_an_action(policy: object, action: object, trace: Trace) -> NotAnAction:
    named = policy if hasattr(policy, "__qualname__") else type(policy)
    name = f"{named.__module__}.{named.__qualname__}"
    if inspect.iscoroutine(action):
        action.close()  # nobody will await it
    found = f"{type(action).__name__}: {repr(action)[:80]}"
    hint = (
        " An asynchronous policy is for aplay; an EpisodicPolicy says that its players are with `asynchronous = True`."
    )
    return NotAnAction(
        f"The policy {name} must return the text of its action, a str; it returned {found} "
        f"(question {trace.question.id!r}, seed {trace.seed})."
        f"{hint if inspect.isawaitable(action) else ''}"
    )
