"""Trace synthesis: teachers play, filters keep what is worth training on, TRL reads what is written."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.evaluate import read_traces, run
from mtr_env.policies import make_policy
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.trace import Call, Fault, Trace
from tests.chat_server import ChatServer
from tests.test_auto_agent import WITHOUT_OPENAI, served
from train import collect
from train.filters import Filters, kept, leak

SHARED = {
    "hotpotqa": ("MTR-HotpotQA-v0", 600),
    "2wikimultihopqa": ("MTR-2WikiMultiHopQA-v0", 394),
    "musique": ("MTR-MuSiQue-v0", 224),
}
ROOT = Path(__file__).resolve().parents[1]


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "sft.jsonl").read_text(encoding="utf-8").splitlines()]


def synthesize(name: str, source: Path, questions: int, out: Path) -> list[dict[str, Any]]:
    """What the offline teacher's traces of a data set come to."""
    strict = "--teacher oracle --thoughts --correct --least-part 0.5 --refuse-leaks".split()
    options = ["--env-id", SHARED[name][0], "--source", str(source), "--episodes", str(questions)]
    collect.main([*options, *strict, "--out", str(out)])
    return rows_of(out)


@pytest.mark.parametrize("name", SHARED)
def test_the_offline_teacher_writes_rows_for_nearly_all_real_questions(
    name: str, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = synthesize(name, shared_data(f"{name}/dev_shared.jsonl"), 40, tmp_path)
    assert len({row["question_id"] for row in rows}) >= 39
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["system", "user", *["assistant", "user"] * (len(roles) // 2 - 1), "assistant"]
        assert row["messages"][-1]["content"].startswith("<answer>")
        assert row["reward"] > 0.6


@pytest.mark.stress
def test_all_1218_real_questions_are_synthesized_in_a_minute(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    began = time.perf_counter()
    total = 0
    for name, (_, count) in SHARED.items():
        written = len(synthesize(name, shared_data(f"{name}/dev_shared.jsonl"), count, tmp_path / name))
        print(f"{name}: {written} of {count}")
        assert written >= 0.98 * count
        total += written
    print(f"{total} of 1218 in {time.perf_counter() - began:.1f} s")
    assert time.perf_counter() - began < 60


# ------------------------------------------------------------------------------------------------------------- filters


@pytest.fixture(scope="module")
def game() -> Game:
    return make_game("MTR-Synthetic-v0", limit=12)


@pytest.fixture(scope="module")
def right(game: Game) -> list[Trace]:
    return [play(MTREnv(game), make_policy("oracle"), question_id=question_id) for question_id in game.world.ids]


def with_action(trace: Trace, number: int, **changes: Any) -> Trace:
    steps = list(trace.steps)
    steps[number] = replace(steps[number], **changes)
    return replace(trace, steps=tuple(steps))


def told_late(traces: list[Trace]) -> Trace:
    """One whose answer is a name that its first call did not return and its question does not hold."""
    return next(
        t for t in traces if t.answer not in ("yes", "no", None) and t.answer not in t.question.text
        and t.steps[0].calls and str(t.answer) not in t.steps[0].observation
    )  # fmt: skip


def test_each_filter_says_why_a_trace_is_left_out(game: Game, right: list[Trace]) -> None:
    trace = right[0]
    steps, calls = len(trace.steps), trace.call_count
    wrong = with_action(trace, -1, action="<answer>nobody</answer>", answer="nobody")
    down = with_action(trace, 0, faults=(Fault("infrastructure", "search: TimeoutError", 0),))
    detour = play(MTREnv(game), make_policy("chaser"), question_id=trace.question.id)
    parts = score(detour).parts
    assert parts["economy"] is not None and parts["economy"] < 0.9
    cases = [
        (Filters(), trace, None),
        (Filters(), wrong, "reward not above 0"),
        (Filters(least_reward=-1.0), wrong, None),
        (Filters(least_reward=-1.0, correct=True), wrong, "wrong or no answer"),
        (Filters(), down, "unscored"),
        (Filters(least_reward=1.0), trace, "reward not above 1"),
        (Filters(least_reward=-1.0, least_part=0.9), detour, None),
        (Filters(most_steps=steps, most_calls=calls), trace, None),
        (Filters(most_steps=steps - 1), trace, f"more than {steps - 1} steps"),
        (Filters(most_calls=calls - 1), trace, f"more than {calls - 1} calls"),
        (Filters(most_tokens=9, tokens=lambda t: 10), trace, "more than 9 tokens"),
        (Filters(most_tokens=10, tokens=lambda t: 10), trace, None),
    ]
    for filters, case, reason in cases:
        found = filters.reason(case)
        if case is detour:
            assert found is not None and found.endswith("below 0.9")
        else:
            assert found == reason


def test_a_right_trace_of_the_oracle_has_no_leak(right: list[Trace]) -> None:
    assert [leak(trace) for trace in right] == [None] * len(right)


def test_the_answer_in_a_thought_an_argument_or_from_nowhere_is_a_leak(game: Game, right: list[Trace]) -> None:
    trace = told_late(right)
    gold = trace.question.golds[0]
    step = trace.steps[0]
    thinks = with_action(trace, 0, action=f"<think>It is {gold.upper()}!</think>\n{step.action}")
    assert leak(thinks) == "leak: a thought says what nothing had stated"
    call = Call("search", {"query": f"who is {gold}"})
    assert leak(with_action(trace, 0, calls=(call,))) == "leak: an argument says what nothing had stated"
    memory = replace(trace, steps=trace.steps[-1:])
    assert leak(memory) == "leak: the answer says what nothing had stated"
    last = trace.steps[-1]
    late = with_action(trace, -1, action=f"<think>So it is {gold}.</think>\n{last.action}")
    assert leak(late) is None  # by then it had been told
    assert leak(replace(trace, setup=replace(trace.setup, tool_actor="llm(m, knowledge=gold_hint)"))) is not None


def test_a_response_that_was_not_shown_states_nothing(right: list[Trace]) -> None:
    trace = told_late(right)
    hidden = [
        replace(step, faults=tuple(Fault("invalid_response", "bad", i) for i in range(len(step.calls))))
        for step in trace.steps
    ]
    assert leak(replace(trace, steps=tuple(hidden))) is not None


def test_a_yes_is_no_leak_and_an_answer_may_be_put_together_from_words_that_were_seen(right: list[Trace]) -> None:
    trace = right[0]
    question = replace(trace.question, answer="yes", aliases=())
    assert leak(replace(trace, question=question, steps=(replace(trace.steps[-1], answer="yes"),))) is None
    question = replace(trace.question, text="Who is Ann of the Aalto family?", answer="Ann Aalto", aliases=())
    steps = (replace(trace.steps[-1], action="<answer>Ann Aalto</answer>", answer="Ann Aalto"),)
    assert leak(replace(trace, question=question, steps=steps)) is None
    question = replace(question, text="Who is Ann?")
    assert leak(replace(trace, question=question, steps=steps)) is not None


def test_what_is_left_out_is_counted_by_reason(right: list[Trace]) -> None:
    left_out = Counter[str]()
    wrong = with_action(right[1], -1, action="<answer>nobody</answer>", answer="nobody")
    assert list(kept([*right, right[0], wrong], Filters(correct=True), left_out)) == right
    assert left_out == {"played before": 1, "wrong or no answer": 1}


# -------------------------------------------------------------------------------------------------------- a collection

SYNTHETIC = "--split train --episodes 30".split()


def test_the_files_of_a_collection_hold_the_same_traces_and_say_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*SYNTHETIC, *"--teacher neutral --p-gold 0.6 --samples 2 --correct --least-part 0.6".split()]
    collect.main([*argv, "--out", str(tmp_path)])
    traces = list(read_traces(tmp_path / "traces.jsonl"))
    good = list(read_traces(tmp_path / "kept.jsonl"))
    rows = rows_of(tmp_path)
    assert len(traces) == 60
    assert {trace.seed for trace in traces} == set(range(60))
    assert 0 < len(good) == len(rows) < 60
    assert [trace.question.id for trace in good] == [row["question_id"] for row in rows]
    assert [score(trace).total for trace in good] == [row["reward"] for row in rows]
    said = json.loads((tmp_path / "collect.json").read_text())
    assert said["episodes"]["kept"] == len(rows)
    assert sum(said["episodes"].values()) == 60
    assert said["episodes"]["wrong or no answer"] > 0
    assert said["settings"]["least_part"] == 0.6
    assert f"{len(rows)} of 60 episodes kept" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == set(
        "traces.jsonl kept.jsonl sft.jsonl dataset collect.json run.json summary.json".split()
    )


def test_native_rows_hold_calls_their_results_and_the_tools(tmp_path: Path) -> None:
    collect.main([*SYNTHETIC, "--teacher", "oracle", "--thoughts", "--form", "native", "--out", str(tmp_path)])
    rows = rows_of(tmp_path)
    assert len(rows) == 30
    for row in rows:
        names = {tool["function"]["name"] for tool in json.loads(row["tools"])}
        calls = [call for message in row["messages"] for call in message.get("tool_calls", ())]
        assert calls
        assert all(call["function"]["name"] in names for call in calls)
        assert all(isinstance(call["function"]["arguments"], dict) for call in calls)
        results = [message for message in row["messages"] if message["role"] == "tool"]
        assert [message["tool_call_id"] for message in results] == [call["id"] for call in calls]
        assert "# Tools" not in row["messages"][0]["content"]
    assert any(message.get("content", "").endswith("?") for message in rows[0]["messages"] if "tool_calls" in message)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--teacher chat", "--teacher chat needs --policy-model NAME"),
        ("--teacher oracle --policy-model m", "--policy-model is for --teacher chat"),
        ("--teacher oracle --p-gold 0.7", "--p-gold is for --teacher neutral"),
        ("--teacher chat --policy-model m --thoughts", "--thoughts is for --teacher neutral or oracle"),
        ("--teacher chat --policy-model m --policy-prices 1", "expected USD per million tokens as IN,OUT"),
        ("--tool-actor llm", "--tool-actor llm needs --tool-model NAME"),
        ("--tool-actor no_such_module:Actor", "there is no module 'no_such_module'"),
        ("--most-tokens 100", "--most-tokens and --tokenizer belong together"),
        ("--form yaml", "Unknown form 'yaml'; expected one of 'text', 'native'"),
        ("--policy-mode dance", "unknown --policy-mode 'dance'"),
    ],
)
def test_options_that_fit_nothing_are_explained(argv: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=message):
        collect.main([*SYNTHETIC, *argv.split(), "--out", str(tmp_path / "out")])


# ----------------------------------------------------------------------------------------------- a model as the teacher


def expert(limit: int, tmp_path: Path, grammar: str = "hermes") -> Callable[[dict[str, Any]], Any]:
    """The content of a server whose model plays as the oracle does."""
    game = make_game("MTR-Synthetic-v0", split="train", limit=limit, grammar=grammar)
    run(game, "oracle", tmp_path / "expert")
    return served(game, list(read_traces(tmp_path / "expert" / "traces.jsonl")), "native")


def test_a_model_teaches_and_a_second_start_asks_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    out = tmp_path / "out"
    with ChatServer(expert(20, tmp_path), faults=("429_retry_after", "empty"), rate=0.2, latency=0.005) as server:
        argv = ["--split", "train", "--episodes", "20", "--teacher", "chat", "--policy-model", "m"]
        argv += [
            "--policy-base-url",
            server.url.replace("//", "//bob:PW@"),
            "--policy-prices",
            "1,2",
            "--samples",
            "2",
            "--correct",
            "--refuse-leaks",
        ]
        collect.main([*argv, "--out", str(out)])
        assert server.peak > 10  # many questions at once
        requests, first = server.requests, (out / "sft.jsonl").read_bytes()
        collect.main([*argv, "--out", str(out)])
        assert server.requests == requests
        assert (out / "sft.jsonl").read_bytes() == first
    assert not [path for path in out.rglob("*") if path.is_file() and b"PW" in path.read_bytes()]
    traces = list(read_traces(out / "traces.jsonl"))
    assert len(traces) == 40
    used = [json.loads(line) for line in (out / "usage.jsonl").read_text().splitlines()]
    assert {(line["question_id"], line["seed"]) for line in used} == {(t.question.id, t.seed) for t in traces}
    assert sum(line["input_tokens"] for line in used) == server.tokens[0]
    assert sum(line["cost"] for line in used) == pytest.approx((server.tokens[0] + 2 * server.tokens[1]) / 1e6)
    assert len(rows_of(out)) >= 20
    assert json.loads((out / "run.json").read_text())["policy"].startswith("auto(m(temperature=0.7")
    assert "episodes kept" in capsys.readouterr().out


def test_the_progress_bar_says_rate_time_left_and_what_the_teacher_has_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with ChatServer(expert(4, tmp_path)) as server:
        argv = ["--split", "train", "--episodes", "4", "--teacher", "chat", "--policy-model", "m"]
        argv += ["--policy-base-url", server.url, "--policy-prices", "1,2", "--no-dataset"]
        collect.main([*argv, "--out", str(tmp_path / "out")])
        read, written = server.tokens
    *_, bar = capsys.readouterr().err.split("\r")
    cost = (read + 2 * written) / 1e6
    said = rf"4/4 episodes, [\d.]+/s, 0:00 left, 4 right, teacher {read:,} \+ {written:,} tokens, {cost:.4f} USD"
    assert re.match(rf"\[#{{30}}\] {said}", bar), bar


@pytest.mark.stress
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_killed_synthesis_goes_on_and_loses_no_finished_episode(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    killed = tmp_path / "killed" / "traces.jsonl"
    with ChatServer(expert(30, tmp_path), latency=0.03) as server:
        command = [sys.executable, "-m", "train.collect", "--split", "train", "--episodes", "30", "--teacher", "chat"]
        command += ["--policy-model", "m", "--policy-base-url", server.url, "--concurrency", "4", "--out"]
        process = subprocess.Popen([*command, str(killed.parent)], cwd=ROOT, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while (not killed.exists() or killed.read_bytes().count(b"\n") < 8) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1].decode()
            time.sleep(0.01)
        process.kill()
        process.communicate()
        before = killed.read_bytes()
        assert 8 <= before.count(b"\n") < 30
        for out in (str(killed.parent), str(tmp_path / "whole")):
            subprocess.run([*command, out], cwd=ROOT, check=True, capture_output=True)
    for name in ("traces.jsonl", "kept.jsonl", "sft.jsonl"):
        assert (killed.parent / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert set(before.splitlines()[:-1]) <= set(killed.read_bytes().splitlines())


# ----------------------------------------------------------------------------------------------------------------- TRL


def tokenizer_with(template: str) -> Any:
    """One token a byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template
    )


@pytest.mark.adapters
@pytest.mark.parametrize("form", ["text", "native"])
def test_trl_trains_on_the_rows_and_lists_the_tools_once(form: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="the train extra is not installed (pip install -e '.[train]')")
    from datasets import load_dataset, load_from_disk
    from transformers import LlamaConfig, LlamaForCausalLM

    argv = ["--split", "train", "--episodes", "8", "--teacher", "oracle", "--thoughts", "--form", form]
    collect.main([*argv, "--out", str(tmp_path)])
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    tokenizer = tokenizer_with(template)
    file = load_dataset("json", data_files=str(tmp_path / "sft.jsonl"), split="train", cache_dir=str(tmp_path / "c"))
    rows = rows_of(tmp_path)
    assert list(file["messages"]) == [row["messages"] for row in rows]
    folder = load_from_disk(str(tmp_path / "dataset"))  # native, whatever the form
    assert folder["question_id"] == file["question_id"]
    assert all(json.loads(tools) for tools in folder["tools"])
    assert all(any("tool_calls" in message for message in chat) for chat in folder["messages"])
    if form == "native":
        assert list(folder["messages"]) == list(file["messages"])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "sft"), max_steps=1, per_device_train_batch_size=2, max_length=None, use_cpu=True,
        report_to=[], disable_tqdm=True, save_strategy="no",
        activation_checkpointing=False,
    )  # fmt: skip
    trainer = trl.SFTTrainer(
        model=LlamaForCausalLM(config),
        args=settings,
        train_dataset=folder if form == "native" else file,
        processing_class=tokenizer,
    )
    texts = [tokenizer.decode(ids) for ids in trainer.train_dataset["input_ids"]]
    for row, text in zip(rows, texts, strict=True):
        assert text.count('"name":"search","description"') + text.count('"name": "search", "description"') == 1
        answer = row["messages"][-1]["content"]
        assert answer.splitlines()[-1] in text
    if form == "native":
        calls = rows[0]["messages"][2]["tool_calls"][0]["function"]
        assert json.dumps(calls["arguments"]) in texts[0]
    trainer.train()


def test_without_the_datasets_library_the_folder_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    collect.main([*SYNTHETIC, "--teacher", "oracle", "--out", str(tmp_path)])
    assert (
        "The folder `dataset` is left out: it takes pip install -c constraints.txt -e '.[data]'"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "dataset").exists()
    assert len(rows_of(tmp_path)) == 30
    collect.main([*SYNTHETIC, "--teacher", "oracle", "--no-dataset", "--out", str(tmp_path)])
    assert "is left out" not in capsys.readouterr().err
