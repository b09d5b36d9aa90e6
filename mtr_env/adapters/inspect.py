"""Inspect 0.3 (``inspect_ai``): the task ``mtr``, whose logs ``inspect view`` opens.

    $ inspect eval mtr_env/mtr --model openai/gpt-5-mini -T env_id=MTR-HotpotQA-v0 -T limit=20

A sample is a question. Its solver offers the question's tools and plays one episode:

- Each call is a step of its own, also where one message holds several: they are made one after the other, each as a
  tool event of Inspect's transcript. Whatever the model wrote is a call, one of an unknown tool too: the environment's
  own rules judge it, not Inspect's.
- The answer is a call of ``submit_answer``, or the last message when that calls no tool and was not cut off. The solver
  stops there, at ``max_steps``, and at an outage; a limit of Inspect's leaves the episode without an answer.
- The scorer ``reward`` gives the rubric's total; ``parts`` gives every part and metric under its own name, each with
  its mean. An unscored episode is an unscored sample (``Score.unscored``), which no metric counts as 0.
- The store's ``mtr_trace`` is the episode's trace as one line of JSON; both scorers are pure functions of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mtr_env.episode import Game
from mtr_env.errors import MTRError
from mtr_env.extras import needed
from mtr_env.plugs import named_game
from mtr_env.reward import RUBRICS, Rubric
from mtr_env.reward import score as score_trace
from mtr_env.reward_log import episode_log
from mtr_env.session import SYSTEM, ToolSession, stopped
from mtr_env.tool import Toolset
from mtr_env.trace import Trace, decode, encode
from mtr_env.transcript import printable, transcript

with needed("inspect", "The Inspect adapter"):
    from inspect_ai import Task, task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ModelOutput, execute_tools
    from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
    from inspect_ai.solver import Generate, Solver, TaskState, solver
    from inspect_ai.tool import ToolCall, ToolDef, ToolParams

TRACE = "mtr_trace"
"""Where a sample's store has the episode's trace, as one line of JSON."""

_CUT_OFF = ("max_tokens", "model_length", "content_filter")
_ANYTHING = ToolParams(additionalProperties=True)


@task
def mtr(
    env_id: str = "MTR-Synthetic-v0", split: str | None = None, limit: int | None = None, seed: int = 0, **options: Any
) -> Task:
    """The questions of a world as an Inspect task.

    Args:
        env_id: One of the package's ids.
        split: ``sample`` (default), ``train``, ``validation``; the synthetic world also has ``test``.
        limit: The first so many questions only.
        seed: Epoch n is played with the seed ``seed + n - 1``, which decides the noise of noisy tools.
        **options: Further arguments of ``make_game``; ``tool_maker`` and ``tool_actor`` may be ``module:attr``.

    Raises Inspect's ``PrerequisiteError``, of which its command line shows the message alone, from what ``make_game``
    raises for an argument or a file that cannot be used.
    """
    given = {name: value for name, value in (("split", split), ("limit", limit)) if value is not None}
    try:
        game = named_game(env_id, {**options, **given})
    except (MTRError, ValueError, TypeError, ImportError, OSError) as error:
        raise _refusal(error) from error
    rubric = game.rubric.name if RUBRICS.get(game.rubric.name) is game.rubric else game.rubric
    return Task(
        dataset=MemoryDataset(_samples(game), name=f"{env_id}, {game.world.info.split}"),
        solver=play(game, seed),
        scorer=[reward(rubric), parts(rubric)],
    )


def _refusal(error: Exception) -> Exception:
    from inspect_ai._util.error import PrerequisiteError  # private; imported here, so that only this depends on it
    from rich.markup import escape  # what stands in brackets would be a style

    refusal: Exception = PrerequisiteError(f"mtr-env: error: {escape(printable(str(error)))}")
    return refusal


@solver
def play(game: Game, seed: int = 0) -> Solver:
    """Plays the question whose id the sample has."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        session = await ToolSession.abegin(game, str(state.sample_id), seed + state.epoch - 1)
        state.tools = [
            _tool(session, spec.name, spec.description, ToolParams.model_validate(spec.parameters))
            for spec in session.specs
        ]
        try:
            for _ in range(game.setup.max_steps):  # a message without a step is one whose calls Inspect refused
                if session.done:
                    break
                state = await generate(state, tool_calls="none")
                said = state.output.message
                if not said.tool_calls:
                    session.end(_last_words(state.output))
                    break
                for call in said.tool_calls:
                    state.messages += await _make(session, said, call)
        finally:  # also when a limit of Inspect's ends the sample here
            state.store.set(TRACE, encode(session.trace).decode())
        return state

    return solve


@scorer(metrics=[mean(), stderr()])
def reward(rubric: str | Rubric = "mtr-v0") -> Scorer:
    """The rubric's total, in [0, 1]; the explanation is the episode's transcript, the metadata what adapters log."""

    async def score(state: TaskState, target: Target) -> Score:
        scored = _scored(state, rubric)
        if isinstance(scored, Score):
            return scored
        trace, log = scored
        return Score(value=log["reward"], answer=trace.answer, explanation=transcript(trace), metadata=log)

    return score


@scorer(metrics={"*": [mean()]})
def parts(rubric: str | Rubric = "mtr-v0") -> Scorer:
    """Every part of the reward and every metric of the episode by name; NaN, which Inspect leaves out, where one does
    not apply."""

    async def score(state: TaskState, target: Target) -> Score:
        scored = _scored(state, rubric)
        if isinstance(scored, Score):
            return scored
        trace, log = scored
        named = {name: value for name, value in log.items() if name not in ("reward", "unscored")}
        values = {name: float("nan") if value is None else value for name, value in named.items()}
        return Score(value=values, answer=trace.answer)

    return score


def _samples(game: Game) -> list[Sample]:
    """A sample for each question, with its gold answers for whoever reads the log; no tools are made yet."""
    samples = []
    for question_id in game.world.ids:
        question = game.world.question(question_id)
        prompt = game.grammar.render_prompt(question.text, Toolset(())).user
        chat = [ChatMessageSystem(content=SYSTEM), ChatMessageUser(content=prompt)]
        about = {"family": question.family, "hops": question.hops}
        samples.append(Sample(input=chat, target=list(question.golds), id=question_id, metadata=about))
    return samples


def _tool(session: ToolSession, name: str, description: str, parameters: ToolParams) -> ToolDef:
    async def call(**kwargs: Any) -> str:
        return await session.acall(name, kwargs)

    return ToolDef(call, name, description, parameters, max_output=0)


async def _make(session: ToolSession, said: ChatMessageAssistant, call: ToolCall) -> list[Any]:
    """One call of a message, made by Inspect with a tool that takes anything; returns the messages that answer it.
    Arguments that Inspect could not read are its message about them, since it keeps nothing else of them."""
    problem = call.parse_error
    made = _tool(session, call.function, "As called.", _ANYTHING)
    if problem is not None:

        async def unread(**kwargs: Any) -> str:
            return await session.acall(call.function, problem)

        made.tool = unread
    only = said.model_copy(update={"tool_calls": [replace(call, parse_error=None)]})
    return list((await execute_tools([only], [made])).messages)


def _last_words(output: ModelOutput) -> str:
    return "" if output.stop_reason in _CUT_OFF else output.completion


def _scored(state: TaskState, rubric: str | Rubric) -> tuple[Trace, dict[str, Any]] | Score:
    """The episode and what is logged of it, or the score of one that is unscored."""
    if TRACE not in state.store:
        return Score.unscored(reason="infrastructure", explanation="Inspect ended the sample before it had its tools.")
    trace = decode(state.store.get(TRACE))
    paid = score_trace(stopped(trace), rubric)
    log = episode_log(trace, paid, cut=trace.stop_reason is None)
    if paid.unscored is None:
        return trace, log
    blame = "infrastructure" if trace.stop_reason == "infrastructure" else "simulator"
    why = f"{paid.unscored}\n\n{transcript(trace)}"
    return Score.unscored(reason=blame, answer=trace.answer, explanation=why, metadata=log)
