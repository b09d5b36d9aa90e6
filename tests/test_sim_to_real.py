"""Corpus search for every real id, and the comparison of simulated tools with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks import sim_to_real
from benchmarks.sim_to_real import difference, pooled
from mtr_env.env import MTREnv
from mtr_env.policies import make_policy
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.rollout import play
from mtr_env.trace import Fault, Trace
from tests.chat_server import ChatServer
from tests.simulated_model import Simulator
from tests.test_auto_agent import WITHOUT_OPENAI

REAL = {
    "MTR-HotpotQA-v0": "hotpotqa",
    "MTR-2WikiMultiHopQA-v0": "2wikimultihopqa",
    "MTR-MuSiQue-v0": "musique",
}
# Bamboogle's questions have no paragraphs: two of its questions, and a collection in our own words.
BAMBOOGLE = [
    {"Question": "Who was president of the USA in the year that Citibank was founded?", "Answer": "James Madison"},
    {"Question": "In which city is the parliament of the country that the river Arda rises in?", "Answer": "Sofia"},
]  # fmt: skip
PAGES = [
    {"title": "Citibank", "text": "Citibank is a bank in New York. Citibank was founded in the year 1812."},
    {"title": "1812", "text": "1812 was a leap year. James Madison was president of the United States in 1812."},
    {"title": "Arda (river)", "text": "The Arda is a river. It rises in Bulgaria."},
    {"title": "Bulgaria", "text": "Bulgaria is a country in Europe. Its parliament sits in Sofia."},
]


def lines(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join([json.dumps(row) + "\n" for row in rows]))
    return path


def search(env: MTREnv, query: str) -> list[str]:
    """The titles that a search finds."""
    call = json.dumps({"name": "search", "arguments": {"query": query}})
    _, _, _, _, info = env.step(f"<tool_call>{call}</tool_call>")
    assert not info["faults"]
    [(_, response)] = list(env.snapshot().upto(1).exchanges())
    return [result["title"] for result in response.value["results"]]


@pytest.mark.parametrize("env_id", REAL)
def test_a_collection_of_the_questions_own_paragraphs_serves_all_of_them(env_id: str, tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    world = make_game(env_id).world
    documents = pooled(world).documents
    path = lines(tmp_path / "pages.jsonl", [{"title": d.title, "text": d.text} for d in documents])
    game = make_game(env_id, corpus=path)
    assert "corpus=pages.jsonl" in game.setup.tool_actor
    env = MTREnv(game)
    titles = {document.title for document in documents}
    oracle = make_policy("oracle", actor=game.tool_actor)
    rewards = []
    for question_id in world.ids:
        env.reset(options={"question_id": question_id})
        own = {paragraph.title for paragraph in world.question(question_id).paragraphs}
        found = search(env, world.question(question_id).text)
        assert found and titles.issuperset(found)
        rewards.append(score(play(MTREnv(game), oracle, question_id=question_id)).total)
        assert own & set(found)
    assert sum(reward == 1.0 for reward in rewards) >= 0.85 * len(rewards)


def test_bamboogle_is_played_over_a_collection_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    source, corpus = lines(tmp_path / "dev.jsonl", BAMBOOGLE), lines(tmp_path / "pages.jsonl", PAGES)
    game = make_game("MTR-Bamboogle-v0", source=source, corpus=corpus)
    env = MTREnv(game)
    env.reset(options={"question_id": game.world.ids[0]})
    assert search(env, "Citibank was founded in the year")[0] == "Citibank"
    env.step('<tool_call>{"name": "open_page", "arguments": {"title": "1812"}}</tool_call>')
    *_, terminated, _, info = env.step("<answer>James Madison</answer>")
    assert terminated
    assert info["metrics"]["em"] == 1.0
    assert info["reward_parts"]["support"] == 1.0
    oracle = make_policy("oracle", actor=game.tool_actor)
    assert all(score(play(MTREnv(game), oracle, question_id=i)).unscored is None for i in game.world.ids)


@pytest.mark.parametrize("env_id", [*REAL, "MTR-Bamboogle-v0"])
def test_the_shared_collections_serve_the_shared_questions(
    env_id: str, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    folder = REAL.get(env_id, "bamboogle")
    own = shared_data(f"{REAL[env_id]}/corpus_shared.jsonl") if env_id in REAL else lines(tmp_path / "c.jsonl", PAGES)
    game = make_game(env_id, source=shared_data(f"{folder}/dev_shared.jsonl"), corpus=own, limit=5)
    for question_id in game.world.ids:
        trace = play(MTREnv(game), make_policy("first-search"), question_id=question_id)
        assert score(trace).unscored is None
        assert not trace.faults


# ----------------------------------------------------------------------------------------------------- the comparison


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    game = make_game("MTR-Synthetic-v0", limit=20)
    return [play(MTREnv(game), make_policy("oracle"), question_id=i, seed=n) for n, i in enumerate(game.world.ids)]


def wrong(trace: Trace) -> Trace:
    last = replace(trace.steps[-1], answer="nobody")
    return replace(trace, steps=(*trace.steps[:-1], last))


def test_a_paired_difference_is_that_of_the_same_questions_that_are_scored_in_both(traces: list[Trace]) -> None:
    worse = [wrong(trace) if n < 5 else trace for n, trace in enumerate(traces)]
    found = difference(worse, list(reversed(traces)), "em")
    assert found is not None
    assert (found.mean, found.pairs) == (-0.25, 20)
    low, high = found.interval
    assert -1 < low < -0.25 < high < 0.05
    down = Fault("infrastructure", "search: TimeoutError", 0)
    steps = (replace(traces[0].steps[0], faults=(down,)), *traces[0].steps[1:])
    unscored = [replace(traces[0], steps=steps), *traces[1:]]
    for ones, others in ((worse, unscored), (unscored, worse), (worse[1:], traces)):
        fewer = difference(ones, others, "em")
        assert fewer is not None
        assert fewer.pairs == 19
    assert difference(worse[:3], traces[3:], "em") is None
    none = difference(traces, traces, "reward")
    assert none is not None
    assert none.mean == 0.0
    assert none.interval[0] < 0 < none.interval[1]  # 20 equal pairs prove no equality


def test_the_interval_of_a_paired_difference_covers_the_truth(traces: list[Trace]) -> None:
    from mtr_env import draw

    covered = 0
    for repetition in range(200):
        ones = [wrong(t) if draw.uniform("one", repetition, t.seed) < 0.4 else t for t in traces]
        others = [wrong(t) if draw.uniform("other", repetition, t.seed) < 0.2 else t for t in traces]
        found = difference(ones, others, "em")
        assert found is not None
        covered += found.interval[0] <= -0.2 <= found.interval[1]
    assert covered >= 0.92 * 200


def test_the_benchmark_compares_what_can_be_played_and_names_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    argv = ["--env-id", "MTR-HotpotQA-v0", "--split", "sample", "--policy", "first-search", "--episodes", "8"]
    argv += ["--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")]
    sim_to_real.main(argv)
    printed = capsys.readouterr().out
    text = (tmp_path / "results" / "sim_to_real.md").read_text()
    assert printed.strip() in text
    assert "| grounded | 8 | 0 |" in text
    assert "| corpus | 8 |" in text
    assert "- simulated: not run, neither --tool-model nor --stand-in was given" in text
    assert "seeds 0 to 7" in text
    sim_to_real.main(argv)  # nothing is played again; its section is replaced
    sim_to_real.main([*argv[:5], "no-tool", "--out", str(tmp_path / "no"), *argv[-2:], "--episodes", "3"])
    text = (tmp_path / "results" / "sim_to_real.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# From simulated tools to real search",
        "## MTR-HotpotQA-v0, sample, first-search",
        "## MTR-HotpotQA-v0, sample, no-tool",
    ]


def test_a_model_simulates_the_middle_column_and_a_cassette_keeps_what_it_said(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    game = make_game("MTR-HotpotQA-v0", limit=6)
    simulator = Simulator([game.world.question(i) for i in game.world.ids])
    results = tmp_path / "results"
    with ChatServer(lambda body: simulator(body["messages"]), faults=("500",), rate=0.1, retry_after=0.01) as server:
        argv = ["--env-id", "MTR-HotpotQA-v0", "--split", "sample", "--policy", "first-search", "--episodes", "6"]
        argv += [
            "--tool-model",
            "m",
            "--tool-base-url",
            server.url.replace("//", "//bob:PW@"),
            "--cassette",
            str(tmp_path / "cassette.db"),
        ]
        sim_to_real.main([*argv, "--out", str(tmp_path / "a"), "--results", str(results)])
        requests = server.requests
        assert requests > 0
        sim_to_real.main([*argv, "--out", str(tmp_path / "b"), "--results", str(results)])
        assert server.requests == requests
    for column in sim_to_real.COLUMNS:
        first, second = ((tmp_path / run / column / "traces.jsonl").read_bytes() for run in "ab")
        assert first == second
    text = (results / "sim_to_real.md").read_text()
    assert "PW" not in text
    rows: Any = [line.split(" | ") for line in text.splitlines() if line.startswith("| simulated |")]
    assert rows[0][1:3] == ["6", "0"]
    assert rows[1][1] == "6"


@pytest.mark.parametrize("env_id", [*REAL, "MTR-Bamboogle-v0"])
def test_every_real_world_has_all_three_columns_and_a_stand_in_is_called_one(env_id: str, tmp_path: Path) -> None:
    pytest.importorskip("openai", reason=WITHOUT_OPENAI)
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    argv = ["--env-id", env_id, "--split", "sample", "--policy", "first-search", "--episodes", "4", "--stand-in"]
    sim_to_real.main([*argv, "--out", str(tmp_path / "out"), "--results", str(tmp_path)])
    text = (tmp_path / "sim_to_real.md").read_text()
    for row in ("grounded", "simulated (stand-in)", "corpus"):
        assert f"| {row} | 4 | 0 |" in text
    assert "- simulated (stand-in): a stand-in for a model, on loopback, wrong in 10% of the fields" in text
    assert "it shows that the path works, not how good a model is" in text


def test_the_families_that_were_played_stand_in_the_page(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the data extra is not installed")
    argv = "--split test --families bridge,count --policy no-tool --episodes 3".split()
    sim_to_real.main([*argv, "--out", str(tmp_path / "out"), "--results", str(tmp_path)])
    text = (tmp_path / "sim_to_real.md").read_text()
    assert "## MTR-Synthetic-v0, test, bridge,count, no-tool" in text
    assert "families=bridge,count" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--split sample --policy oracle --stand-in --tool-model m", "--stand-in simulates the tools in place of"),
        ("--split sample", "Say who plays: --policy NAME or --checkpoint FOLDER"),
        ("--split sample --policy oracle --checkpoint x", "Say who plays"),
        ("--split sample --policy chat", "--policy chat needs --policy-model NAME"),
        ("--split sample --policy oracle --tool-actor grounded", "--tool-actor is who simulates"),
        ("--policy oracle", "Say which questions"),
    ],
)
def test_a_comparison_without_a_player_or_questions_is_explained(argv: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        sim_to_real.main(["--env-id", "MTR-HotpotQA-v0", *argv.split()])


@pytest.mark.adapters
def test_a_checkpoint_is_compared_too(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the train extra is not installed (pip install -e '.[train]')")
    argv = "--split test --grammar hermes-compact --checkpoint train/base --episodes 3 --max-steps 2".split()
    argv += "--max-tokens 640 --max-turn-tokens 24".split()
    sim_to_real.main([*argv, "--out", str(tmp_path / "out"), "--results", str(tmp_path / "results")])
    text = (tmp_path / "results" / "sim_to_real.md").read_text()
    assert "| grounded | 3 | 0 |" in text
    assert "played by train/base" in text
