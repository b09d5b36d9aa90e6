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
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from unittest import mock

import msgspec

from benchmarks.limits import CALLS, NULL_VALUES, Item, Plan
from benchmarks.timing import Laps, Timing

NULL_VALUE = NULL_VALUES["search"]

_PASSAGES: list[dict[str, Any]] = [
    {"document": {"contents": f"{result['title']}\n{result['snippet']}"}} for result in NULL_VALUE["results"]
]
READY_TEXT = msgspec.json.encode(NULL_VALUE).decode()
_MARK: str = NULL_VALUE["results"][-1]["snippet"].strip()  # every observation must hold it


class Peer(ABC):
    """One package, with a live environment a question; the actions' form is the package's own."""

    name: str
    package: str
    does: str
    call = "<think>I look it up.</think>\n<search>{}</search>"
    final = "<think>I know.</think>\n<answer>{}</answer>"

    @abstractmethod
    def __init__(self, items: Sequence[Item]) -> None: ...

    @abstractmethod
    def reset(self, plans: Sequence[Plan]) -> None:
        """Starts an episode in every environment."""

    @abstractmethod
    def step(self, actions: Sequence[str]) -> list[Any]:
        """A step in every environment; what each returned."""

    @abstractmethod
    def observation(self, result: Any) -> tuple[str, bool]:
        """The text that a policy sees, and whether the episode is over."""

    def play(self, plans: Sequence[Plan]) -> Timing:
        """One repetition of batched rollouts."""
        laps = Laps(len(plans))
        laps.start()
        self.reset(plans)
        laps.stop("reset")
        for number in range(CALLS):
            actions = [self.call.format(plan.queries[number]) for plan in plans]
            laps.start()
            results = self.step(actions)
            laps.stop("step")
            assert all(_MARK in text and not over for text, over in map(self.observation, results))
        actions = [self.final.format(plan.answer) for plan in plans]
        laps.start()
        results = self.step(actions)
        laps.stop("answer")
        assert all(over for _, over in map(self.observation, results))
        return laps.timing()


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
        self.envs: list[Any] = [self.wrap(QaEnv(dataset=rows), NullSearch(), TextSearch()) for _ in items]

    def wrap(self, env: Any, null: Any, text: Any) -> Any:
        """The environment with one of two tools: ready passages, or a ready text."""
        from gem.tools.tool_env_wrapper import ToolEnvWrapper

        return ToolEnvWrapper(env, [null])

    def reset(self, plans: Sequence[Plan]) -> None:
        """See :class:`Peer`."""
        for env in self.envs:
            env.reset()

    def step(self, actions: Sequence[str]) -> list[Any]:
        """See :class:`Peer`."""
        return [env.step(action) for env, action in zip(self.envs, actions, strict=True)]

    def observation(self, result: Any) -> tuple[str, bool]:
        """See :class:`Peer`."""
        return result[0], result[2]


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
        self.envs: list[Any] = []

    def play(self, plans: Sequence[Plan]) -> Timing:
        """See :class:`Peer`."""
        ready = {"result": [_PASSAGES]}, None
        with mock.patch.object(self._search, "call_search_api", lambda **request: ready):
            return super().play(plans)

    def reset(self, plans: Sequence[Plan]) -> None:
        """Makes new environments: they serve one episode."""
        self.envs = []
        for plan in plans:
            extras = {"reward_spec": {"ground_truth": {"target": plan.item.answer}}, "max_turns": 10}
            env = self._make("search", env_config=self._config, extras=extras)
            env.init([{"role": "user", "content": plan.item.question}])
            self.envs.append(env)

    def step(self, actions: Sequence[str]) -> list[Any]:
        """See :class:`Peer`."""
        return [env.step(action) for env, action in zip(self.envs, actions, strict=True)]

    def observation(self, result: Any) -> tuple[str, bool]:
        """See :class:`Peer`."""
        return result["observations"][0]["content"] if result["observations"] else "", result["done"]


class TextArena(Peer):
    """TextArena has no tools: the smallest environment on its single-player state, as its own games are written."""

    name = "TextArena single-player state"
    package = "textarena"
    call = "I look it up. [search {}]"
    final = "I know. [answer {}]"
    does = "finds [search ...] by regex, dumps JSON, keeps a log, compares the answer; has no tools, no validation"

    def __init__(self, items: Sequence[Item]) -> None:
        import re

        import textarena as ta

        called = re.compile(r"\[search (.*?)\]").search
        answered = re.compile(r"\[answer (.*?)\]").search
        kinds = ta.ObservationType
        dumps = msgspec.json.encode

        class Game(ta.Env):  # type: ignore[misc]
            item: Item

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

        self.envs = [Game() for _ in items]

    def reset(self, plans: Sequence[Plan]) -> None:
        """See :class:`Peer`."""
        for env, plan in zip(self.envs, plans, strict=True):
            env.item = plan.item
            env.reset(num_players=1)
            env.get_observation()

    def step(self, actions: Sequence[str]) -> list[Any]:
        """See :class:`Peer`; ends with what the policy reads before its next action."""
        results = []
        for env, action in zip(self.envs, actions, strict=True):
            done, _ = env.step(action)
            results.append((done, env.close() if done else env.get_observation()))
        return results

    def observation(self, result: Any) -> tuple[str, bool]:
        """See :class:`Peer`."""
        done, seen = result
        return "" if done else seen[1][-1][1], done


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
    except Exception as error:  # any: other people's packages, in versions that we do not choose
        return Found(kind, version, None, f"unusable: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
