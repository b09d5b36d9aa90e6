"""verifiers 0.4 (``verifiers.v1``): a taskset for ``vf-eval``, ``vf-validate`` and the trainers that play its rollouts.

    $ vf-eval mtr-taskset -m MODEL -n 20 --env.taskset.env_id MTR-Synthetic-v0 --env.taskset.split train ...

``mtr-taskset`` (``environments/mtr_taskset``) is the package that verifiers finds; it exports :class:`MTRTaskset`.

A rollout's tools are its question's, with their whole schemas: a tool server lists what the rollout's state holds. The
calls themselves are made in the process that scores, before the harness makes them (its *tool interception*), so that
whatever the model wrote, a call of an unknown tool and arguments that are no JSON too, is a step of one episode, judged
by the environment's own rules. A harness without tool interception is refused as the rollout begins.

- Each call is a step of its own, also where one message holds several, and so is the answer: a call of
  ``submit_answer``, or the last message when that calls no tool.
- The stop conditions ``answered``, ``max_turns`` (the environment's ``max_steps``: truncated, to verifiers) and
  ``infrastructure`` say how the episode ended before the model did (``agent_completed``: its last message answers);
  any other, such as a token limit, leaves it without an answer.
- An unscored episode fails with ``UnscoredError``: the trace is not ``ok`` and its rewards are ``None``, never 0.
- ``trace.info["mtr_trace"]`` is the episode's trace as one line of JSON, of which every reward is a pure function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, cast

import msgspec

from mtr_env.episode import Game
from mtr_env.errors import MTRError
from mtr_env.extras import needed
from mtr_env.memo import Recent
from mtr_env.plugs import named_game
from mtr_env.policies.native import arguments_of
from mtr_env.policies.oracle import Oracle
from mtr_env.reward import Reward, score
from mtr_env.reward_log import episode_log
from mtr_env.rollout import aplay
from mtr_env.rows import refuse_schedule
from mtr_env.session import SYSTEM, ToolSession, stopped
from mtr_env.tool import Toolset
from mtr_env.trace import StopReason, Trace, decode, encode

with needed("verifiers", "The verifiers adapter"):
    import verifiers.v1 as vf
    from mcp.server.mcpserver import MCPServer
    from mcp.types import Tool
    from pydantic import Field, PrivateAttr

TRACE = "mtr_trace"
"""Where ``trace.info`` has the episode's trace, as one line of JSON."""

_games: Recent[tuple[str, bytes], Game] = Recent(8)


class UnscoredError(MTRError):
    """An episode that an outage or the simulator spoilt, so that its rollout fails; the message says how."""


class MTRConfig(vf.TasksetConfig):
    """Which questions: ``--env.taskset.*``, for ``vf-validate`` ``--taskset.*``."""

    env_id: str = "MTR-Synthetic-v0"
    """One of the package's ids."""
    split: str | None = None
    """``sample`` (default), ``train``, ``validation``; the synthetic world also has ``test``."""
    seed: int = 0
    """The seed of every episode, which decides the noise of noisy tools."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of ``make_game`` as JSON, such as ``{"limit": 100, "max_steps": 12}``; ``tool_maker`` and
    ``tool_actor`` are given as ``module:attr``."""


class MTRState(vf.State):
    """What a rollout's tool server may know, the question's tools; and the episode, in the process that scores."""

    tools: list[dict[str, Any]] = Field(default_factory=list)
    _session: ToolSession | None = PrivateAttr(None)

    @property
    def session(self) -> ToolSession:
        """The rollout's episode, begun by :meth:`MTRTask.setup`."""
        assert self._session is not None
        return self._session


class MTRData(vf.TaskData):
    """A question as verifiers saves it: ``id`` is the question's, and the rest makes its game again."""

    env_id: str
    options: dict[str, Any]
    seed: int


class MTRTask(vf.Task[MTRData, MTRState, vf.TaskConfig]):
    """One question."""

    @cached_property
    def game(self) -> Game:
        """What the tasks of one ``env_id`` and ``options`` share in this process."""
        return _game(self.data.env_id, self.data.options)

    async def setup(self, trace: vf.Trace) -> None:
        """Begins the rollout's episode. Raises ``ValueError`` for a harness that calls tools unasked, and
        ``UnscoredError`` when the ToolMaker cannot be reached."""
        _check_harness(trace.agent.config.harness)
        session = await ToolSession.abegin(self.game, str(self.data.id), self.data.seed)
        if session.done:
            raise UnscoredError(str(session.reward().unscored))
        trace.state._session = session
        trace.state.tools = [tool["function"] for tool in session.tools]

    @vf.intercept
    async def make_call(self, request: vf.Request, trace: vf.Trace) -> vf.Request | None:
        """Makes the call whose result stands last, and puts the real result there: verifiers asks this about each call
        of a message in order, before the harness sees the message."""
        *before, last = request.messages
        if not isinstance(last, vf.ToolMessage):
            return None
        call = _call(before, last.tool_call_id)
        seen = await trace.state.session.acall(call.name, arguments_of(call.arguments))
        return request.model_copy(update={"messages": [*before, last.model_copy(update={"content": seen})]})

    @vf.stop
    async def answered(self, trace: vf.Trace) -> bool:
        """The answer was submitted by a call."""
        return _ended(trace, "answer")

    @vf.stop
    async def max_turns(self, trace: vf.Trace) -> bool:
        """``max_steps`` steps without an answer. The name is the one that verifiers counts as truncated."""
        return _ended(trace, "max_steps")

    @vf.stop
    async def infrastructure(self, trace: vf.Trace) -> bool:
        """A tool could not be reached."""
        return _ended(trace, "infrastructure")

    async def finalize(self, trace: vf.Trace) -> None:
        """Ends the episode with the last message, if that answers, and records it."""
        trace.info[TRACE] = encode(trace.state.session.end(_last_words(trace))).decode()

    @vf.metric
    async def log(self, trace: vf.Trace) -> dict[str, float]:
        """Metrics and counts of the episode, by name; what does not apply is left out. The reward's parts are rewards
        of weight 0."""
        played, reward = _played(trace), self._scored(trace)
        named = episode_log(played, reward, cut=played.stop_reason is None)
        return _applying({name: value for name, value in named.items() if name not in ("reward", *reward.parts)})

    @vf.reward(weight=1.0)
    async def reward(self, trace: vf.Trace) -> float:
        """The rubric's total, in [0, 1]. Raises ``UnscoredError`` where there is none."""
        return _total(self._scored(trace))

    @vf.reward(weight=0.0)
    async def parts(self, trace: vf.Trace) -> dict[str, float]:
        """The parts of which the total is made, by name; those that do not apply are left out."""
        return _applying(self._scored(trace).parts)

    async def validate(self, runtime: vf.Runtime) -> bool:
        """Whether the oracle, which copies every word from what it saw, earns 1.0. Raises ``UnscoredError`` when an
        outage leaves that open."""
        game, question_id = self.game, str(self.data.id)
        oracle = Oracle(game.grammar, game.tool_actor)
        played = await aplay(game, oracle, question_id=question_id, seed=self.data.seed)
        return _total(score(played, game.rubric)) == 1.0

    def _scored(self, trace: vf.Trace) -> Reward:
        return score(stopped(_played(trace)), self.game.rubric)


class MTRToolset(vf.Toolset[vf.SharedToolsetConfig, MTRState]):
    """Lists the tools of the rollout that asks. It makes no call: :meth:`MTRTask.make_call` has made them before."""

    TOOL_PREFIX = None

    def register(self, mcp: MCPServer) -> None:
        """Replaces the server's own list, which would be one for all rollouts."""
        cast(Any, mcp).list_tools = self._with_state(self.list_tools)

    async def list_tools(self) -> list[Tool]:
        """The tools of the calling rollout, ``submit_answer`` included, with their whole schemas."""
        return [
            Tool(name=tool["name"], description=tool["description"], input_schema=tool["parameters"])
            for tool in self.state.tools
        ]


class MTRTaskset(vf.Taskset[MTRTask, MTRConfig]):
    """The questions of a world, in order."""

    @classmethod
    def toolsets(cls, config: MTRConfig) -> list[vf.Toolset]:
        """One tool server for all rollouts."""
        return [MTRToolset(vf.SharedToolsetConfig())]

    def load(self) -> Iterator[MTRTask]:
        """One task for each question; no tools are made yet. Raises as ``make_game``."""
        config = self.config
        options = config.options if config.split is None else {**config.options, "split": config.split}
        game = _game(config.env_id, options)
        for question_id in game.world.ids:
            prompt = game.grammar.render_prompt(game.world.question(question_id).text, Toolset(()))
            data = MTRData(
                id=question_id,
                name=question_id,
                system_prompt=SYSTEM,
                prompt=prompt.user,
                env_id=config.env_id,
                options=options,
                seed=config.seed,
            )
            yield MTRTask(data, config.task)


def _game(env_id: str, options: dict[str, Any]) -> Game:
    key = env_id, msgspec.json.encode(options, order="sorted")
    return _games.get(key, lambda _: refuse_schedule(named_game(env_id, options)))


def _check_harness(config: vf.HarnessConfig | None) -> None:
    if config is None or vf.load_harness(config).SUPPORTS_TOOL_INTERCEPTION:
        return
    raise ValueError(
        f"The harness {config.id!r} makes tool calls without asking (it has no tool interception), so this taskset "
        "cannot answer them: choose another, such as --env.agent.harness.id null."
    )


def _call(messages: list[vf.Message], call_id: str) -> vf.ToolCall:
    """The call of the last message that makes calls."""
    said = next(m for m in reversed(messages) if isinstance(m, vf.AssistantMessage))
    return next(call for call in said.tool_calls or () if call.id == call_id)


def _ended(trace: vf.Trace, reason: StopReason) -> bool:
    return bool(trace.state.session.trace.stop_reason == reason)


def _last_words(trace: vf.Trace) -> str:
    """The text of the model's last message, unless that calls a tool or was cut off."""
    said = trace.assistant_messages
    if not said or said[-1].tool_calls or trace.is_truncated:
        return ""
    return said[-1].content or ""


def _played(trace: vf.Trace) -> Trace:
    return decode(trace.info[TRACE])


def _applying(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _total(reward: Reward) -> float:
    if reward.total is None:
        raise UnscoredError(str(reward.unscored))
    return reward.total


if __name__ == "__main__":  # how verifiers starts a tool server
    MTRToolset.run()
