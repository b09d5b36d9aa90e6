"""From simulated tools to real search: one policy, the same questions, three kinds of tools.

    python -m benchmarks.sim_to_real --env-id MTR-HotpotQA-v0 --split sample --policy first-search --stand-in
    python -m benchmarks.sim_to_real --split test --grammar hermes-compact --checkpoint runs/tiny/grpo
    python -m benchmarks.sim_to_real --env-id MTR-Bamboogle-v0 --split validation --corpus wiki.jsonl \\
        --policy chat --policy-model MODEL --policy-base-url URL \\
        --tool-model SIMULATOR --tool-base-url URL --knowledge closed_book

``grounded`` answers from each question's own paragraphs, ``simulated`` from a language model (``--tool-model``),
``corpus`` from BM25 search over a collection (``--corpus``; unless given, the paragraphs of all questions played, in
one), where nothing is simulated. The policy is the same in all three: a name that ``mtr-env run --policy`` takes, a
chat model, or a checkpoint. Without an endpoint, ``--stand-in`` serves a stand-in for the model on loopback, which
makes known mistakes: it shows that the path works, not how good a model is, and the tables call it so.

Differences are paired: of each question that is scored under both, its score under the one less its score under
``grounded``, with a 95% interval (Agresti and Min's, so that no difference seen does not count as none proven). A
column that cannot be played is named with the reason. Traces go to ``--out``, where an interrupted run goes on; the
tables to ``benchmarks/results/sim_to_real.md``.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import stand_in
from benchmarks.report import RESULTS, machine
from mtr_env.cli.progress import Progress
from mtr_env.episode import Game
from mtr_env.errors import MTRError
from mtr_env.evaluate import Summary, read_traces, run, summarize
from mtr_env.evaluate.statistics import Interval
from mtr_env.llm.endpoint import without_credentials
from mtr_env.metrics import metrics
from mtr_env.plugs import PlayerOptions, ToolOptions, option, player
from mtr_env.reward import score
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.corpus import Corpus, Document
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.trace import Trace, encode
from mtr_env.worlds.base import World, questions
from train.options import PlayOptions, parse, said_plainly

COLUMNS = ("grounded", "simulated", "corpus")
_Z = 1.959963984540054


@dataclass
class Args(PlayOptions, PlayerOptions):
    """Who plays what, with which tools."""

    policy: str | None = option(None, "a policy as `mtr-env run` names it, or chat")
    checkpoint: str | None = option(None, "a checkpoint folder or hub id that plays, in place of --policy")
    temperature: float = option(0.0, "of the checkpoint's sampling; 0 is greedy")
    batch: int = option(64, "episodes of the checkpoint that go on together")
    tool_actor: str | None = option("llm", "who simulates the tools: llm, ladder, or your module:attr", "NAME")
    stand_in: bool = option(False, "a stand-in on loopback simulates the tools, in place of --tool-model")
    corpus: Path | None = option(None, "the collection to search, JSON Lines of title and text")
    episodes: int = option(200, "questions to play, each once")
    out: Path = option(Path("runs/sim_to_real"), "a folder for the traces")
    results: Path = option(RESULTS, "a folder for the tables")


class Column(NamedTuple):
    """What one kind of tools came to."""

    traces: list[Trace]
    summary: Summary


class Difference(NamedTuple):
    """A mean paired difference with its interval, and how many questions it is of."""

    mean: float
    interval: Interval
    pairs: int


def difference(ones: Sequence[Trace], others: Sequence[Trace], metric: str) -> Difference | None:
    """What ``ones`` score above ``others`` on the questions that are scored in both; ``None`` without any.

    ``metric`` is ``"em"``, ``"f1"`` or ``"reward"``. The interval is that of Agresti and Min (2005): as if two more
    questions had been played, one half of each outcome of a pair.
    """
    pairs = []
    there = {(trace.question.id, trace.seed): trace for trace in others}
    for trace in ones:
        other = there.get((trace.question.id, trace.seed))
        values = [_value(t, metric) for t in (trace, other) if t is not None]
        if len(values) == 2 and None not in values:
            pairs.append(values[0] - values[1])
    if not pairs:
        return None
    n = len(pairs) + 2
    centre = math.fsum(pairs) / n
    spread = (math.fsum(d * d for d in pairs) + 1) / n - centre * centre
    half = _Z * math.sqrt(max(0.0, spread) / n)
    return Difference(math.fsum(pairs) / len(pairs), (max(-1.0, centre - half), min(1.0, centre + half)), len(pairs))


def _value(trace: Trace, metric: str) -> Any:
    reward = score(trace).total
    if reward is None or metric == "reward":
        return reward
    return getattr(metrics(trace), metric)


def pooled(world: World) -> Corpus:
    """All paragraphs of a world's questions as one collection. Raises ``ValueError`` where there are none."""
    documents: dict[Document, None] = {}
    for question in questions(world):
        for paragraph in question.paragraphs:
            documents.setdefault(Document(paragraph.title, " ".join(paragraph.sentences)))
    if not documents:
        raise ValueError("its questions have no paragraphs to search: give --corpus FILE")
    return Corpus(list(documents), "the questions' paragraphs")


def actor_of(column: str, args: Args, world: World) -> ToolActor:
    """The ToolActor of a column; raises ``ValueError`` with the reason why it cannot be played."""
    if column == "corpus":
        return GroundedToolActor(Corpus.read(args.corpus) if args.corpus else pooled(world))
    if column == "grounded":
        if not world.question(world.ids[0]).paragraphs:
            raise ValueError("its questions have no paragraphs to answer from")
        return GroundedToolActor()
    if args.tool_actor in ("llm", "ladder") and args.tool_model is None and not args.replay:
        raise ValueError("neither --tool-model nor --stand-in was given to simulate the tools")
    return args.tools().actor(GroundedToolActor())


def play(args: Args, game: Game, folder: Path) -> list[Trace]:
    """The traces of all questions under one kind of tools."""
    episodes = min(args.episodes, len(game.world.ids))
    if args.checkpoint is not None:
        traces = _play_checkpoint(args.checkpoint, args, game, episodes)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "traces.jsonl").write_bytes(b"".join([encode(trace) + b"\n" for trace in traces]))
        return traces
    with said_plainly(ValueError, ImportError, MTRError):
        policy, name = player(args.policy or "", args, game, args.concurrency)
    with Progress("episodes") as progress:
        run(
            game,
            policy,
            folder,
            policy_name=name,
            episodes=episodes,
            seed=args.seed,
            concurrency=args.concurrency,
            on_episode=lambda done, total, trace: progress(done, total, folder.name),
        )
    return list(read_traces(folder / "traces.jsonl"))


def _play_checkpoint(checkpoint: str, args: Args, game: Game, episodes: int) -> list[Trace]:
    import torch

    from mtr_env.adapters.trl import Rollouts
    from train.measure import play_all
    from train.models import load
    from train.sampler import CachedSampler

    torch.manual_seed(args.seed)
    model, tokenizer = load(checkpoint, args.max_tokens)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    rollouts = Rollouts(game, tokenizer, **args.limits())
    sampler = CachedSampler(model, tokenizer, args.temperature)
    return play_all(rollouts, sampler, episodes, args.seed, args.batch)


def compare(args: Args) -> tuple[dict[str, Column], dict[str, str]]:
    """The columns that were played, and why the others were not."""
    if (args.policy is None) == (args.checkpoint is None):
        raise SystemExit("Say who plays: --policy NAME or --checkpoint FOLDER.")
    if args.tool_actor in (None, "grounded") or args.tool_maker is not None:
        raise SystemExit("--tool-actor is who simulates, beside the evidence and the search; all play the same tools.")
    if args.stand_in and (args.tool_model or args.tool_base_url):
        raise SystemExit("--stand-in simulates the tools in place of --tool-model and --tool-base-url: leave out one.")
    world = _game(args, GroundedToolActor()).world
    if not args.stand_in:
        return _compare(args, world)
    with stand_in.served(world) as url:
        return _compare(dataclasses.replace(args, tool_model=stand_in.MODEL, tool_base_url=url), world)


def _compare(args: Args, world: World) -> tuple[dict[str, Column], dict[str, str]]:
    played: dict[str, Column] = {}
    missing: dict[str, str] = {}
    for column in COLUMNS:
        try:
            actor = actor_of(column, args, world)
        except ValueError as error:
            missing[column] = str(error)
            continue
        traces = play(args, _game(args, actor), args.out / column)
        played[column] = Column(traces, summarize(traces, policy=args.policy or args.checkpoint))
    return played, missing


def _game(args: Args, actor: ToolActor) -> Game:
    """The game with this column's tools in place of those of the options."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(ToolOptions)}
    plain = dataclasses.replace(args, **defaults)
    return plain.game(args.episodes, tool_actor=actor)


def name_of(args: Args) -> str:
    """What a section is called: the environment, its questions, and who plays."""
    which = Path(args.world or args.source or args.split or "").name
    which += f", {args.families}" if args.families else ""
    who = args.policy_model or args.policy or args.checkpoint
    return f"{args.env_id}, {which}, {who}{f', {args.policy_mode}' if args.policy == 'chat' else ''}"


def _cell(value: float | None, interval: Interval | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def report(args: Args, command: str, played: dict[str, Column], missing: dict[str, str]) -> str:
    """The tables, in Markdown."""
    one = next(iter(played.values())).summary
    called = {name: f"{name} (stand-in)" if name == "simulated" and args.stand_in else name for name in COLUMNS}
    about = ", ".join(f"{key} {value}" for key, value in machine("torch", "bm25s", "openai").items())
    lines = [
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, seeds {args.seed} to {args.seed + one.episodes - 1}; {about}.",
        "",
        f"{one.env_id}, split {one.split}, source {one.source}, world {one.fingerprint}; "
        f"grammar {one.grammar}, {one.max_steps} steps; played by "
        f"{args.policy_model or args.policy or args.checkpoint}.",
        "",
        "| tools | episodes | unscored | EM | F1 | reward | calls |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (_, s) in played.items():
        cells = [_cell(s.metrics[m], s.intervals[m]) for m in ("em", "f1")]
        cells += [_cell(s.reward, s.intervals["reward"]), _cell(s.calls_per_episode)]
        lines.append(f"| {called[name]} | {s.episodes} | {s.unscored} | {' | '.join(cells)} |")
    if "grounded" in played and len(played) > 1:
        lines += ["", "| less grounded, same questions | pairs | EM | F1 | reward |", "|---|---|---|---|---|"]
        for name in [name for name in played if name != "grounded"]:
            found = [difference(played[name].traces, played["grounded"].traces, m) for m in ("em", "f1", "reward")]
            cells = ["-" if d is None else f"{d.mean:+.3f} [{d.interval[0]:+.3f}, {d.interval[1]:+.3f}]" for d in found]
            lines.append(f"| {called[name]} | {found[0].pairs if found[0] else 0} | {' | '.join(cells)} |")
    lines += ["", *[f"- {called[name]}: tools {column.summary.tool_actor}" for name, column in played.items()]]
    lines += [f"- {called['simulated']}: {stand_in.LABEL}"] if args.stand_in and "simulated" in played else []
    lines += [f"- {name}: not run, {reason}" for name, reason in missing.items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Runs the comparison; its section replaces that of the same questions and player, and leaves the others."""
    args = parse(Args, "sim_to_real", __doc__.split("\n", 1)[0], argv, "benchmarks")
    played, missing = compare(args)
    if not played:
        raise SystemExit("; ".join(f"{name}: not run, {reason}" for name, reason in missing.items()))
    command = shlex.join(["python", "-m", "benchmarks.sim_to_real", *(sys.argv[1:] if argv is None else argv)])
    text = report(args, without_credentials(command), played, missing)
    path = args.results / "sim_to_real.md"
    title = "# From simulated tools to real search"
    before = path.read_text(encoding="utf-8").split("\n## ")[1:] if path.exists() else []
    name = name_of(args)
    sections = [section.strip() for section in before if section.split("\n", 1)[0] != name]
    sections.append(f"{name}\n\n{text}")
    args.results.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n## ".join([title, *sections]) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
