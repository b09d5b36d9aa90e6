"""Synthesizes traces for supervised fine-tuning: a teacher plays, good episodes are kept, duplicates are not.

    python -m train.collect --recipe tiny
    python -m train.collect --env-id MTR-HotpotQA-v0 --source FILE --teacher oracle --thoughts --correct \\
        --out runs/oracle
    python -m train.collect --env-id MTR-HotpotQA-v0 --split train --teacher chat \\
        --policy-model qwen3-32b --policy-base-url http://127.0.0.1:8000/v1 \\
        --samples 4 --correct --least-part 0.5 --refuse-leaks --out runs/auto

The teachers are ``neutral`` (the oracle's plan with detours), ``oracle`` (the plan; with ``--thoughts`` it says before
each call what it wants to know) and ``chat`` (a chat model, many questions at once). ``--tool-maker`` and
``--tool-actor`` say who writes and who plays the tools. The folder holds

- ``traces.jsonl``: all episodes, as ``mtr-env run`` writes them; an interrupted collection goes on where it stopped
- ``kept.jsonl``: the traces that passed the filters (``train.sft --traces`` reads it)
- ``sft.jsonl``: the same as chat messages, one conversation a line, which TRL's ``SFTTrainer`` reads: in the text of
  the grammar, or with ``--form native`` as tool calls with the tools beside them
- ``dataset`` (not with ``--no-dataset``): the same as a folder of the ``datasets`` library: chat messages with tool
  calls, and the tools beside them
- ``collect.json``: the settings, and how many were left out for which reason; ``usage.jsonl``: what the models of each
  episode have used
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agents.auto import AutoAgent
from agents.neutral import NeutralTeacher
from mtr_env.cli.progress import Progress
from mtr_env.cli.tables import spent
from mtr_env.encoding import Encoder
from mtr_env.episode import Game
from mtr_env.errors import DatasetError, MTRError
from mtr_env.evaluate import read_traces, run, write_json
from mtr_env.extras import install
from mtr_env.grammar import get_grammar
from mtr_env.llm import ChatClient
from mtr_env.llm.endpoint import without_credentials
from mtr_env.plugs import PlayerOptions, chat_agent, check_player
from mtr_env.policies.base import AnyPolicy
from mtr_env.policies.native import trace_chat
from mtr_env.reward import score
from mtr_env.trace import Trace, encode
from mtr_env.transcript import messages
from train.filters import Filters, kept
from train.options import WorldOptions, option, parse, said_plainly

TEACHERS = ("neutral", "oracle", "chat")
FORMS = ("text", "native")


@dataclass
class Args(WorldOptions, PlayerOptions):
    """What is collected."""

    teacher: str = option("neutral", "neutral (the oracle's plan with detours), oracle, or chat (a chat model)")
    p_gold: float | None = option(None, "how often the neutral teacher makes the plan's next call (0.5)")
    p_later: float | None = option(None, "the same, once the plan has begun (as --p-gold)")
    detours: str | None = option(None, "the only tools that its detours may call, with commas between them")
    thoughts: bool = option(False, "write the question that a call asks before each call of the plan")
    policy_temperature: str = option("0.7", "of the chat model's sampling; none sends none")
    episodes: int = option(1000, "questions to play")
    samples: int = option(1, "episodes of each question")
    least_reward: float = option(0.0, "keep an episode when its reward is above this")
    correct: bool = option(False, "keep right answers only")
    least_part: float = option(0.0, "keep an episode when each consistency part is at least this")
    most_steps: int | None = option(None, "keep episodes of at most so many steps")
    most_calls: int | None = option(None, "keep episodes of at most so many calls")
    most_tokens: int | None = option(None, "keep conversations of at most so many tokens of --tokenizer")
    tokenizer: str | None = option(None, "a checkpoint folder or hub id, for --most-tokens")
    refuse_leaks: bool = option(False, "leave out what says the answer before a tool or the question has")
    form: str = option("text", "of sft.jsonl: text (the grammar's) or native (tool calls)")
    dataset: bool = option(True, "also write a folder of the datasets library: native messages, and their tools")
    seed: int = option(0, "the first episode's seed")
    out: Path = option(Path("runs/traces"), "the folder")

    def check(self) -> None:
        """Raises ``SystemExit`` for values that fit nothing."""
        for name, known in (("teacher", TEACHERS), ("form", FORMS)):
            if getattr(self, name) not in known:
                expected = ", ".join(map(repr, known))
                raise SystemExit(f"Unknown {name} {getattr(self, name)!r}; expected one of {expected}.")
        for name in ("p_gold", "p_later", "detours"):
            if getattr(self, name) is not None and self.teacher != "neutral":
                raise SystemExit(f"--{name.replace('_', '-')} is for --teacher neutral.")
        if self.thoughts and self.teacher == "chat":
            raise SystemExit("--thoughts is for --teacher neutral or oracle; a chat model thinks by itself.")
        with said_plainly(ValueError):
            check_player(self, self.teacher == "chat", "--teacher chat")
        if (self.most_tokens is None) != (self.tokenizer is None):
            raise SystemExit("--most-tokens and --tokenizer belong together: tokens are counted by a tokenizer.")


def make_teacher(args: Args, game: Game) -> AnyPolicy:
    """The policy that plays."""
    if args.teacher == "chat":
        with said_plainly(ValueError, ImportError, MTRError):
            return chat_agent(args, game.grammar, concurrency=args.concurrency, seed=args.seed)
    p_gold = gold_share(args) if args.teacher == "neutral" else 1.0  # the oracle makes no detour
    detours = None if args.detours is None else [name.strip() for name in args.detours.split(",")]
    if detours is not None:
        check_detours(detours, game)
    with said_plainly(ValueError):
        return NeutralTeacher(game.grammar, p_gold, args.seed, game.tool_actor, args.thoughts, detours, args.p_later)


def gold_share(args: Args) -> float:
    """How often the neutral teacher makes the plan's next call."""
    return 0.5 if args.p_gold is None else args.p_gold


def check_detours(names: Sequence[str], game: Game) -> None:
    """Raises ``SystemExit`` for a name that is no tool of the first questions."""
    first = [game.begin(question_id, 0)[1].toolset for question_id in game.world.ids[:50]]
    known = sorted({tool.name for toolset in first for tool in toolset.tools})
    for name in names:
        if known and name not in known:
            raise SystemExit(f"--detours: no tool is called {name!r}; there are {', '.join(known)}.")


def policy_name(args: Args, teacher: AnyPolicy) -> str:
    """What stands in the record: the teacher with everything that its actions depend on."""
    if isinstance(teacher, AutoAgent):
        return teacher.name
    later = [] if args.p_later is None else [f"later {args.p_later:g}"]
    settings = [f"{gold_share(args):g}", *later, *filter(None, [args.detours])] if args.teacher == "neutral" else []
    settings += ["thoughts"] if args.thoughts else []
    return f"{args.teacher}({', '.join(settings)})" if settings else args.teacher


def filters_of(args: Args) -> Filters:
    """The filters that the options ask for."""
    return Filters(
        args.least_reward,
        args.correct,
        args.least_part,
        args.most_steps,
        args.most_calls,
        args.most_tokens,
        _token_counter(args.tokenizer) if args.tokenizer else None,
        args.refuse_leaks,
    )


def _token_counter(tokenizer: str) -> Callable[[Trace], int]:
    from transformers import AutoTokenizer

    encoder = Encoder(AutoTokenizer.from_pretrained(tokenizer))

    def count(trace: Trace) -> int:
        encoded = encoder.trace(trace, _text_chat(trace.upto(0)))
        return len(encoded.prompt) + len(encoded.completion)

    return count


def _text_chat(trace: Trace) -> list[dict[str, str]]:
    grammar = get_grammar(trace.setup.grammar)
    return messages(trace, grammar.render_prompt(trace.question.text, trace.toolset))


def chat_of(trace: Trace, form: str) -> dict[str, Any]:
    """The columns of a row for fine-tuning that hold a trace.

    ``text``: the policy's own conversation, whose system message lists the tools; a column ``tools`` beside it would
    make a chat template list them again. ``native``: messages with ``tool_calls``, whose arguments are objects (chat
    templates write them as JSON), and the tools as JSON text (they differ by question, and a table would fill each
    one's schema with the fields of all others).
    """
    if form == "text":
        return {"messages": _text_chat(trace)}
    chat = trace_chat(trace, get_grammar(trace.setup.grammar))
    for call in [call for message in chat for call in message.get("tool_calls", ())]:
        call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return {"messages": chat, "tools": json.dumps(trace.toolset.openai(), ensure_ascii=False)}


def write_rows(args: Args) -> Counter[str]:
    """Writes ``kept.jsonl``, ``sft.jsonl`` and the dataset folder; returns how many were kept, and left out by reason.
    Files appear when they are whole."""
    left_out = Counter[str]()
    count = 0
    make_dataset = dataset_class() if args.dataset else None
    table = []
    places = [args.out / name for name in ("kept.jsonl", "sft.jsonl")]
    beside = [path.with_name(f".{path.name}") for path in places]
    with beside[0].open("wb") as traces, beside[1].open("wb") as rows:
        for trace in kept(read_traces(args.out / "traces.jsonl"), filters_of(args), left_out):
            traces.write(encode(trace) + b"\n")
            row = {"question_id": trace.question.id, "reward": score(trace).total}
            chat = chat_of(trace, args.form)
            rows.write(msgspec.json.encode(row | chat) + b"\n")
            if make_dataset is not None:
                table.append(row | (chat if args.form == "native" else chat_of(trace, "native")))
            count += 1
    for path, whole in zip(places, beside, strict=True):
        whole.replace(path)
    if make_dataset is not None and table:
        make_dataset.from_list(table, on_mixed_types="use_json").save_to_disk(str(args.out / "dataset"))
    return Counter({"kept": count}) + left_out


def dataset_class() -> Any:
    """``datasets.Dataset``, or ``None`` with a notice: what else is written does not need it."""
    try:
        from datasets import Dataset
    except ImportError:
        print(f"The folder `dataset` is left out: it takes {install('data')}.", file=sys.stderr)
        return None
    return Dataset


def collect(args: Args, command: list[str]) -> Counter[str]:
    """Plays what is not played yet, then filters and writes; returns how many were kept, and left out by reason."""
    args.check()
    tools = args.tools()
    game = args.game(args.episodes, tools)
    teacher = make_teacher(args, game)
    clients = {"teacher": teacher.client if isinstance(teacher, AutoAgent) else None, "tools": tools.client}
    args.out.mkdir(parents=True, exist_ok=True)
    right = 0
    with Progress("episodes") as progress:

        def on_episode(done: int, total: int, trace: Trace) -> None:
            nonlocal right
            right += score(trace).parts.get("answer") == 1.0
            costs = [
                f"{who} {spent(client.spent)}" for who, client in clients.items() if isinstance(client, ChatClient)
            ]
            progress(done, total, ", ".join([f"{right} right", *costs]))

        with said_plainly(DatasetError):  # the folder holds another collection
            run(
                game,
                teacher,
                args.out,
                policy_name=policy_name(args, teacher),
                episodes=min(args.episodes, len(game.world.ids)) * args.samples,
                seed=args.seed,
                concurrency=args.concurrency,
                tool_spent=tools.spent,
                command=command,
                on_episode=on_episode,
            )
    counts = write_rows(args)
    command = [without_credentials(word) for word in command]
    settings = {name: _setting(value) for name, value in dataclasses.asdict(args).items()}
    write_json(args.out / "collect.json", {"command": command, "settings": settings, "episodes": dict(counts)})
    return counts


def _setting(value: Any) -> Any:
    return without_credentials(str(value)) if isinstance(value, str | Path) else value


def main(argv: list[str] | None = None) -> None:
    """Runs the collection."""
    args = parse(Args, "collect", __doc__.split("\n", 1)[0], argv)
    counts = collect(args, shlex.split("python -m train.collect") + list(sys.argv[1:] if argv is None else argv))
    reasons = "".join([f"; {count} {reason}" for reason, count in counts.most_common() if reason != "kept"])
    print(f"{counts['kept']} of {counts.total()} episodes kept: {args.out / 'sft.jsonl'}{reasons}")


if __name__ == "__main__":
    main()
