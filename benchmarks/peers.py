"""Other packages on the same work: 4 calls of a null tool that gives about the same 975 bytes, then an answer.

The null tool stands in the same place everywhere: its data are ready, and turning them into the text that a policy sees
is the environment's work. So each peer's own search tool runs, with the request it would send replaced.

They are measured where installed; a package that is missing is listed as "not installed". To have all of them, in an
environment of its own (gem-llm pins old versions of msgspec and nltk, hence --no-deps)::

    python -m venv .venv-peers && . .venv-peers/bin/activate
    pip install -c constraints.txt -e . orjson datasets reasoning-gym==0.1.23 omegaconf requests func_timeout pandas \
        openai rich nltk chess python-dotenv websockets
    pip install --no-deps 'gem-llm==0.1.*' 'skyrl-gym==0.4.*' 'textarena==0.7.*'
    python -m benchmarks.throughput

What each one does in a step, by its own code: see ``does`` of each class, printed with the figures. None of them loads
a call's JSON, validates arguments or a response, or keeps a record from which the episode can be played again.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter_ns as clock
from typing import Any, NamedTuple
from unittest import mock

import msgspec

from benchmarks.limits import CALLS, NULL_VALUES, Item, Plan

Timing = dict[str, float]
"""Microseconds: ``reset`` and ``answer`` (each an episode), ``step`` (one tool step), ``episode``."""

NULL_VALUE = NULL_VALUES["search"]

_PASSAGES: list[dict[str, Any]] = [
    {"document": {"contents": f"{result['title']}\n{result['snippet']}"}} for result in NULL_VALUE["results"]
]
READY_TEXT = msgspec.json.encode(NULL_VALUE).decode()
_MARK: str = NULL_VALUE["results"][-1]["snippet"].strip()  # every observation must hold it


def timing(episodes: Sequence[tuple[int, int, int]]) -> Timing:
    """The median over episodes, each as nanoseconds of reset, tool steps and answer: whatever interrupts the process
    falls on a few episodes, not on the figure."""
    resets, steps, answers = zip(*episodes, strict=True)
    return {
        "reset": median(resets) / 1000,
        "step": median(steps) / 1000 / CALLS,
        "answer": median(answers) / 1000,
        "episode": median([sum(episode) for episode in episodes]) / 1000,
    }


class Peer:
    """One package. ``make`` builds an environment; ``reset``, ``step`` and the actions' form are the package's own."""

    name: str
    package: str
    does: str

    def __init__(self, items: Sequence[Item]) -> None:
        raise NotImplementedError

    def play(self, plans: Sequence[Plan]) -> Timing:
        """Plays one episode a plan and returns the median times."""
        raise NotImplementedError


class Gem(Peer):
    """GEM: ``QaEnv`` in ``ToolEnvWrapper`` with its ``SearchTool``, whose request is replaced by ready passages."""

    name = "GEM QaEnv + tool wrapper"
    package = "gem-llm"
    does = "finds <search> by regex, formats passages, counts tool uses, EM; no JSON, no validation, no record"

    def __init__(self, items: Sequence[Item]) -> None:
        import datasets
        from gem.envs.qa_env import QaEnv
        from gem.tools.search_tool import SearchTool

        class NullSearch(SearchTool):  # type: ignore[misc]
            def _search(self, query: str) -> str:
                return self._passages2string(_PASSAGES)  # type: ignore[no-any-return]

        class TextSearch(SearchTool):  # type: ignore[misc]
            def _search(self, query: str) -> str:
                return READY_TEXT

        datasets.disable_progress_bars()
        rows = datasets.Dataset.from_list([{"question": i.question, "answer": i.answer} for i in items])
        self.env: Any = self.wrap(QaEnv(dataset=rows), NullSearch(), TextSearch())

    def wrap(self, env: Any, null: Any, text: Any) -> Any:
        """The environment with one of two tools: ready passages, or a ready text."""
        from gem.tools.tool_env_wrapper import ToolEnvWrapper

        return ToolEnvWrapper(env, [null])

    def play(self, plans: Sequence[Plan]) -> Timing:
        step = self.env.step
        episodes = []
        for plan in plans:
            actions = [f"<think>I look it up.</think>\n<search>{query}</search>" for query in plan.queries]
            t0 = clock()
            self.env.reset()
            t1 = clock()
            for action in actions:
                observation, *_ = step(action)
            t2 = clock()
            final = f"<think>I know.</think>\n<answer>{plan.answer}</answer>"
            t3 = clock()
            _, _, terminated, _, _ = step(final)
            t4 = clock()
            assert terminated and _MARK in observation
            episodes.append((t1 - t0, t2 - t1, t4 - t3))
        return timing(episodes)


class GemText(Gem):
    """The same with a tool whose text is ready, so that nothing is rendered: less work than the others do."""

    name = "GEM, text ready"
    does = "as above without formatting: a regex and counters"

    def wrap(self, env: Any, null: Any, text: Any) -> Any:
        """See :meth:`Gem.wrap`."""
        return super().wrap(env, text, text)


class GemChat(Gem):
    """GEM with its own wrappers for a history (``concat_with_action``) and for counters (``episode_tracking``)."""

    name = "GEM + history + tracking"
    does = "as GEM, and returns the whole history as text; no JSON, no validation"

    def wrap(self, env: Any, null: Any, text: Any) -> Any:
        """See :meth:`Gem.wrap`."""
        from gem.wrappers.episode_tracking_wrapper import EpisodeTrackingWrapper
        from gem.wrappers.observation_wrapper import ObservationWrapper

        history = ObservationWrapper(super().wrap(env, null, text), include_action=True, include_chat_template=False)
        return EpisodeTrackingWrapper(history)


class SkyRL(Peer):
    """SkyRL-gym: ``SearchEnv`` with its own search tool, whose request is replaced by a ready response."""

    name = "SkyRL-gym SearchEnv"
    package = "skyrl-gym"
    does = (
        "finds <search> by regex, formats passages, dumps JSON, keeps the chat, EM; no validation; reset is make + init"
    )

    def __init__(self, items: Sequence[Item]) -> None:
        import skyrl_gym
        from skyrl_gym.envs.search.env import SearchEnvConfig
        from skyrl_gym.tools import search

        self._search = search
        self._make: Callable[..., Any] = skyrl_gym.make
        self._config = SearchEnvConfig()

    def play(self, plans: Sequence[Plan]) -> Timing:
        ready = {"result": [_PASSAGES]}, None
        with mock.patch.object(self._search, "call_search_api", lambda **request: ready):
            return self._play(plans)

    def _play(self, plans: Sequence[Plan]) -> Timing:
        episodes = []
        for plan in plans:
            actions = [f"<think>I look it up.</think>\n<search>{query}</search>" for query in plan.queries]
            final = f"<think>I know.</think>\n<answer>{plan.answer}</answer>"
            extras = {"reward_spec": {"ground_truth": {"target": plan.item.answer}}, "max_turns": 10}
            prompt = [{"role": "user", "content": plan.item.question}]
            t0 = clock()
            env = self._make("search", env_config=self._config, extras=extras)
            env.init(prompt)
            t1 = clock()
            for action in actions:
                result = env.step(action)
            t2 = clock()
            last = env.step(final)
            t3 = clock()
            assert last["done"] and _MARK in result["observations"][0]["content"]
            episodes.append((t1 - t0, t2 - t1, t3 - t2))
        return timing(episodes)


class TextArena(Peer):
    """TextArena has no tools: the smallest environment on its single-player state, as its own games are written."""

    name = "TextArena single-player state"
    package = "textarena"
    does = "finds [search ...] by regex, dumps JSON, keeps a log, compares the answer; has no tools, no validation"

    def __init__(self, items: Sequence[Item]) -> None:
        import re

        import textarena as ta

        called = re.compile(r"\[search (.*?)\]").search
        answered = re.compile(r"\[answer (.*?)\]").search
        kinds = ta.ObservationType
        dumps = msgspec.json.encode

        class Game(ta.Env):  # type: ignore[misc]
            item = items[0]

            def reset(self, num_players: int, seed: int | None = None) -> None:
                self.state = ta.SinglePlayerState(num_players=num_players, seed=seed, max_turns=10)
                self.state.reset(game_state={}, player_prompt_function=lambda player_id, game_state: self.item.question)

            def step(self, action: str) -> tuple[bool, dict[str, Any]]:
                state = self.state
                state.add_observation(from_id=0, to_id=-1, message=action, observation_type=kinds.PLAYER_ACTION)
                if called(action):
                    state.add_observation(message=dumps(NULL_VALUE).decode(), observation_type=kinds.GAME_MESSAGE)
                elif match := answered(action):
                    state.set_outcome(reward=float(match[1] == self.item.answer), reason="answered")
                else:
                    state.set_invalid_move(reason="neither a search nor an answer")
                return state.step()  # type: ignore[no-any-return]

        self.env = Game()

    def play(self, plans: Sequence[Plan]) -> Timing:
        env = self.env
        episodes = []
        for plan in plans:
            actions = [f"I look it up. [search {query}]" for query in plan.queries]
            final = f"I know. [answer {plan.answer}]"
            env.item = plan.item
            t0 = clock()
            env.reset(num_players=1)
            env.get_observation()
            t1 = clock()
            for action in actions:
                env.step(action)
                _, observation = env.get_observation()
            t2 = clock()
            done, _ = env.step(final)
            env.close()
            t3 = clock()
            assert done and _MARK in observation[-1][1]
            episodes.append((t1 - t0, t2 - t1, t3 - t2))
        return timing(episodes)


PEERS: tuple[type[Peer], ...] = (Gem, GemText, GemChat, SkyRL, TextArena)


class Found(NamedTuple):
    """Whether a peer can be measured here: its version and a ready instance, or why not."""

    kind: type[Peer]
    version: str
    peer: Peer | None
    problem: str = ""


def find_peers(items: Sequence[Item]) -> list[Found]:
    """All peers in order. One that is missing, or that cannot be imported or built, has no instance."""
    return [_find(kind, items) for kind in PEERS]


def _find(kind: type[Peer], items: Sequence[Item]) -> Found:
    try:
        version = importlib.metadata.version(kind.package)
    except importlib.metadata.PackageNotFoundError:
        return Found(kind, "", None, "not installed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Found(kind, version, kind(items))
    except Exception as error:
        return Found(kind, version, None, f"unusable: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
