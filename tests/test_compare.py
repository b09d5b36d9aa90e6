"""Two runs, pair by pair: what is compared, what is refused, and when a difference is only noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from mtr_env.cli import main
from mtr_env.cli.compared import _p_value, comparison
from mtr_env.episode import Game
from mtr_env.errors import DatasetError, InfrastructureError
from mtr_env.evaluate import Comparison, Difference, compare_runs, read_traces, run
from mtr_env.evaluate.bootstrap import bootstrap_interval
from mtr_env.evaluate.compare import _noise_of
from mtr_env.evaluate.sides import read_run
from mtr_env.evaluate.statistics import difference_interval, sign_test
from mtr_env.evaluate.summary import Row
from mtr_env.metrics import Metrics
from mtr_env.policies.oracle import Oracle
from mtr_env.policies.readers import NoToolGuesser
from mtr_env.policies.usage import EpisodeUsage
from mtr_env.registration import make_game
from mtr_env.trace import Trace, encode

N = 8
Capture = pytest.CaptureFixture[str]


class Every:
    """Right, but for the questions whose number is one of ``wrong``."""

    sees_gold = True

    def __init__(self, *wrong: int) -> None:
        self.wrong = wrong

    def for_episode(self, trace: Trace) -> Any:
        if int(trace.question.id.rsplit("-", 1)[1]) in self.wrong:
            return NoToolGuesser()
        return Oracle().for_episode(trace)


@pytest.fixture(scope="module")
def game() -> Game:
    return make_game("MTR-Synthetic-v0", limit=N)


def played(game: Game, out: Path, *wrong: int, name: str = "p", **options: Any) -> Path:
    run(game, Every(*wrong), out, policy_name=name, **options)
    return out


def compared(*paths: Path, **options: Any) -> Comparison:
    found: Comparison
    (found,) = compare_runs(paths, **options)
    return found


def test_a_difference_is_that_of_the_pairs_with_its_interval_and_p_value(game: Game, tmp_path: Path) -> None:
    a, b = played(game, tmp_path / "a", 0, 1, 2, name="base"), played(game, tmp_path / "b", 2, 5, name="better")
    found = compared(a, b)
    em = found.measures["em"]
    assert (em.a, em.b, em.difference, em.pairs) == (5 / 8, 6 / 8, 1 / 8, N)
    assert em.interval == difference_interval([[1.0], [1.0], [0.0], [0.0], [0.0], [-1.0], [0.0], [0.0]])
    assert em.p_value == sign_test(2, 1)
    assert [flip.question_id[-1] for flip in found.gained] == ["0", "1"]
    assert [(flip.question_id[-1], flip.a, flip.b) for flip in found.lost] == [("5", 1.0, 0.0)]
    assert (found.a.policy, found.b.policy, found.questions, found.unpaired) == ("base", "better", N, 0)
    assert found.measures["reward"].difference == pytest.approx(1 / 8)
    assert {"cover_em", "f1", "contract", "support", "economy"} <= found.measures.keys()
    assert sum(one.pairs for one in found.families.values()) == N
    assert sum(one.pairs * (one.difference or 0) for one in found.families.values()) == pytest.approx(1)


def test_a_run_does_not_differ_from_itself(game: Game, tmp_path: Path) -> None:
    a = played(game, tmp_path / "a", 1)
    found = compared(a, a / "traces.jsonl")
    for one in found.measures.values():
        assert one.p_value == 1
        assert (one.difference, one.bootstrap_interval) == ((0, (0, 0)) if one.pairs else (None, None))
    assert (found.gained, found.lost) == ((), ())


def test_a_part_is_compared_where_it_applies_to_both(game: Game, tmp_path: Path) -> None:
    found = compared(played(game, tmp_path / "a", 0, 1, 2), played(game, tmp_path / "b"))
    assert found.measures["em"].pairs == N
    assert found.measures["economy"].pairs == N - 3  # without a call there is no economy


def test_samples_of_one_question_are_one_cluster(game: Game, tmp_path: Path) -> None:
    a = played(game, tmp_path / "a", 0, 1, samples=3)
    found = compared(a, played(game, tmp_path / "b", samples=3))
    em = found.measures["em"]
    assert (em.pairs, found.questions) == (3 * N, N)
    assert em.interval == difference_interval([[1.0] * 3] * 2 + [[0.0] * 3] * 6)
    assert em.bootstrap_interval == bootstrap_interval([[1.0] * 3] * 2 + [[0.0] * 3] * 6)
    assert em.p_value == sign_test(2, 0)
    assert len(found.gained) == 2


def test_pairs_have_the_same_seed_where_they_can_and_are_in_order_elsewhere(game: Game, tmp_path: Path) -> None:
    a = played(game, tmp_path / "a", samples=3)
    b = played(game, tmp_path / "b", episodes=2 * N, seed=N)  # seeds 8 to 23: those of a's second and third samples
    found = compared(a, b)
    assert (found.measures["em"].pairs, found.unpaired) == (2 * N, N)
    far = compared(a, played(game, tmp_path / "far", seed=1000))
    assert (far.measures["em"].pairs, far.unpaired) == (N, 2 * N)


def test_an_unscored_episode_makes_no_pair(tmp_path: Path, game: Game) -> None:
    class Away(Every):
        def for_episode(self, trace: Trace) -> Any:
            if trace.question.id.endswith(("-3", "-4")):
                raise_away = InfrastructureError("away")

                def away(messages: Any, tools: Any) -> str:
                    raise raise_away

                return away
            return super().for_episode(trace)

    a = played(game, tmp_path / "a", 3)
    run(game, Away(), tmp_path / "b", policy_name="away")
    found = compared(a, tmp_path / "b")
    assert (found.pairs, found.unscored_pairs, found.b.unscored) == (N - 2, 2, 2)
    assert found.measures["em"].difference == 0  # question 3 was wrong in a, but says nothing


class Paid(Every):
    """Says that each episode took so many tokens, and a cent or nothing that anybody knows."""

    def __init__(self, tokens: int, cost: float | None = 0.01) -> None:
        super().__init__()
        self.tokens, self.cost = tokens, cost

    def usage(self, question_id: str, seed: int) -> EpisodeUsage:
        return EpisodeUsage(2, self.tokens, int(question_id[-1]), self.cost, 0.5)


def test_what_an_episode_takes_is_compared_where_both_have_counted_it(game: Game, tmp_path: Path) -> None:
    plain, a, b, unpriced = (tmp_path / name for name in ("plain", "a", "b", "unpriced"))
    played(game, plain, 0, 1)
    for out, policy in ((a, Paid(1000)), (b, Paid(1500)), (unpriced, Paid(900, None))):
        run(game, policy, out, policy_name="paid")
    assert list(compared(plain, a).costs) == ["calls"]
    calls = compared(plain, a).costs["calls"]
    assert (calls.a or 0) < (calls.b or 0), "a guess makes no call"
    assert calls.difference == pytest.approx(
        sum(t.call_count for t in read_traces(a / "traces.jsonl") if t.seed < 2) / N
    )
    found = compared(a, b)
    assert list(found.costs) == ["calls", "tokens", "USD", "seconds"]
    tokens = found.costs["tokens"]
    assert (tokens.a, tokens.b, tokens.difference, tokens.interval) == (1003.5, 1503.5, 500, (500, 500))
    assert tokens.p_value == sign_test(N, 0)
    assert list(compared(a, unpriced).costs) == ["calls", "tokens", "seconds"]
    (line,) = [line.split() for line in comparison(found).splitlines() if line.startswith("tokens")]
    assert line == ["tokens", "8", "1,004", "1,504", "+500", "[500,", "500]", "0.0078", "-"]


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"distractors": 3}, r"world fingerprint is '.* \(source 'procedural.*: --source, or the knobs"),
        ({"limit": 4}, r"world fingerprint is '.* \(8 and 4 questions: --limit\)"),
        ({"split": "test"}, r"world fingerprint is '.* \(split 'sample' and 'test': --split"),
        ({"max_steps": 5}, "max_steps is 8 in .* and 5 in "),
        ({"noise": 0.2}, r"tool_actor is 'grounded' in .* and 'grounded \+ noise"),
        ({"extra_tools": 1}, "tool_maker is 'template"),
        ({"rubric": "f1"}, "rubric is 'mtr-v0' in .* and 'f1' in .*--rubric NAME scores both"),
    ],
)
def test_runs_of_different_worlds_or_rubrics_are_refused(
    options: dict[str, Any], expected: str, game: Game, tmp_path: Path
) -> None:
    a = played(game, tmp_path / "a")
    b = played(make_game("MTR-Synthetic-v0", **{"limit": N, **options}), tmp_path / "b")
    with pytest.raises(DatasetError, match=f"These runs cannot be compared: .*{expected}"):
        compare_runs([a, b])


def test_one_rubric_for_both_makes_them_comparable(game: Game, tmp_path: Path) -> None:
    a = played(game, tmp_path / "a")
    b = played(make_game("MTR-Synthetic-v0", limit=N, rubric="f1"), tmp_path / "b")
    assert compared(a, b, rubric="f1").measures["reward"].difference == 0
    with pytest.raises(ValueError, match="Unknown rubric 'mtr-v9'"):
        compare_runs([a, b], "mtr-v9")


def test_another_grammar_is_said_and_not_refused(game: Game, tmp_path: Path) -> None:
    a = played(game, tmp_path / "a")
    run(make_game("MTR-Synthetic-v0", limit=N, grammar="react"), "oracle", tmp_path / "b")
    assert any("grammar is hermes in" in note for note in compared(a, tmp_path / "b").notes)


def test_one_run_is_no_comparison_and_a_mixed_file_or_a_double_episode_is_no_run(game: Game, tmp_path: Path) -> None:
    a = played(game, tmp_path / "a")
    with pytest.raises(ValueError, match="needs two runs or more"):
        compare_runs([a])
    traces = list(read_traces(a / "traces.jsonl"))
    other_answer = replace(traces[2], steps=traces[2].steps[-1:])
    other = replace(traces[0], seed=50, setup=replace(traces[0].setup, max_steps=3))
    for name, extra, expected in [
        ("mixed", other, "more than one max_steps"),
        ("twice", other_answer, "with seed 2 stands there twice, played differently"),
    ]:
        file = tmp_path / f"{name}.jsonl"
        file.write_bytes(b"".join([encode(trace) + b"\n" for trace in [*traces, extra]]))
        with pytest.raises(DatasetError, match=expected):
            compare_runs([a, file])
    copied, notes = tmp_path / "copied.jsonl", list[str]()
    copied.write_bytes((a / "traces.jsonl").read_bytes() * 2)
    assert compared(a, copied, say=notes.append).pairs == N
    assert "8 episodes stand there again word for word" in notes[0]
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(DatasetError, match="holds no finished episode"):
        compare_runs([a, tmp_path / "empty.jsonl"])


# --------------------------------------------------------------------------------------------------------------- noise


class Coin:
    """Right on question ``i`` with the probability ``chances[i]``, by the episode's seed."""

    sees_gold = True

    def __init__(self, chances: Any, shift: float = 0.0) -> None:
        self.chances, self.shift = chances, shift

    def for_episode(self, trace: Trace) -> Any:
        number = int(trace.question.id.rsplit("-", 1)[1])
        right = np.random.default_rng([trace.seed, number]).random() < self.chances[number] + self.shift
        return Oracle().for_episode(trace) if right else NoToolGuesser()


@pytest.fixture(scope="module")
def noisy() -> Game:
    return make_game("MTR-Synthetic-v0", limit=40)


CHANCES = np.random.default_rng(2).beta(0.7, 0.7, 40)


def coin(game: Game, out: Path, seed: int, shift: float = 0.0, **options: Any) -> Path:
    run(game, Coin(CHANCES, shift), out, policy_name=f"coin{shift}", seed=seed, **options)
    return out


def test_a_difference_between_seeds_of_one_policy_is_within_the_noise_in_95_of_100(noisy: Game, tmp_path: Path) -> None:
    runs = [coin(noisy, tmp_path / str(seed), seed) for seed in range(0, 12_000, 1000)]
    floor, others = runs[:4], runs[4:]
    within = [
        found.measures["em"].within_noise
        for i, a in enumerate(others[:-1])
        for found in compare_runs([a, *others[i + 1 :]], noise_floor=floor)
    ]
    assert len(within) == 28
    assert sum(map(bool, within)) >= 25
    em = compared(*others[:2], noise_floor=floor).measures["em"]
    truth = 1.96 * np.sqrt(2 * np.mean(CHANCES * (1 - CHANCES)) / 40)
    assert em.noise == pytest.approx(truth, rel=0.25)


def simulated(generator: Any, chances: Any, runs: int) -> list[list[Row]]:
    """Runs of one policy that answers question ``i`` rightly with the probability ``chances[i]``."""
    plain = Row("", 0, "f", "2", Metrics(0.0, 0.0, 0.0), 0.0, {}, 0, ())
    return [
        [
            replace(plain, question_id=str(i), seed=seed, metrics=Metrics(float(right), 0.0, 0.0))
            for i, right in enumerate(generator.random(len(chances)) < chances)
        ]
        for seed in range(runs)
    ]


@pytest.mark.parametrize("pairs", [20, 40])
@pytest.mark.parametrize("kind", ["by the world", "seldom", "half"])
@pytest.mark.parametrize("same", [True, False], ids=["the runs themselves", "two other runs"])
def test_of_pure_noise_about_five_rows_in_a_hundred_are_above_it(pairs: int, kind: str, same: bool) -> None:
    generator = np.random.default_rng(3)
    above = 0
    for _ in range(500):
        chances = {"by the world": generator.beta(0.7, 0.7, pairs), "seldom": np.full(pairs, 0.02)}
        a, b, c, d = simulated(generator, chances.get(kind, np.full(pairs, 0.5)), 4)
        floor = [*a, *b] if same else [*c, *d]
        noise = _noise_of((floor, floor), "em", pairs)
        assert noise is not None
        above += abs(sum(y.metrics.em - x.metrics.em for x, y in zip(a, b, strict=True))) / pairs > noise
    assert above <= 0.065 * 500


def test_a_family_has_the_noise_of_its_own_and_too_few_pairs_are_said(noisy: Game, tmp_path: Path) -> None:
    a, b = (coin(noisy, tmp_path / str(seed), seed) for seed in (0, 1000))
    found = compared(a, b, noise_floor=[a, b])
    runs = [read_run(path, None, print) for path in (a, b)]
    for family, one in found.families.items():
        rows = [[row for row in run.rows if row.family == family] for run in runs]
        flips = sum(x.metrics.em != y.metrics.em for x, y in zip(*rows, strict=True))
        assert one.noise == pytest.approx(1.96 * np.sqrt(flips + 1) / one.pairs, rel=1e-4)
        assert one.noise > 1 / one.pairs
        assert one.pairs < 20
        assert one.within_noise is None
    assert "too few pairs" in comparison(found)


def test_a_real_difference_is_above_the_noise(noisy: Game, tmp_path: Path) -> None:
    a, b, better = (
        coin(noisy, tmp_path / "a", 0),
        coin(noisy, tmp_path / "b", 1000),
        coin(noisy, tmp_path / "better", 2000, shift=0.4),
    )
    found = compared(a, better, noise_floor=[a, b])
    assert found.measures["em"].within_noise is False
    assert "the noise is that of the policy coin0.0" in found.notes
    assert compared(a, better).measures["em"].noise is None


def test_samples_show_the_noise_by_themselves(noisy: Game, tmp_path: Path) -> None:
    a, b = coin(noisy, tmp_path / "a", 0, samples=3), coin(noisy, tmp_path / "b", 1000, samples=3)
    em = compared(a, b).measures["em"]
    assert em.noise == pytest.approx(1.96 * np.sqrt(2 * np.mean(CHANCES * (1 - CHANCES)) / 120), rel=0.25)
    assert em.within_noise is (abs(em.difference or 0) <= (em.noise or 0))


def test_what_shows_no_noise_is_refused(game: Game, tmp_path: Path) -> None:
    a, b = played(game, tmp_path / "a"), played(game, tmp_path / "b", name="q", seed=100)
    short = played(make_game("MTR-Synthetic-v0", limit=N, max_steps=5), tmp_path / "short", seed=100)
    for floor, expected in [
        ([a], "played more than once: give runs with other seeds"),
        ([a, a], "with seed 0 stands there twice"),
        ([a, b], "The noise is that of one policy; these are of p, q"),
        ([a, short], "max_steps is 8"),
    ]:
        with pytest.raises(DatasetError, match=expected):
            compare_runs([a, b], noise_floor=floor)


# ------------------------------------------------------------------------------------------------------------- command


def test_the_command_prints_a_table_and_writes_json(game: Game, tmp_path: Path, capsys: Capture) -> None:
    a, b = played(game, tmp_path / "a", 0, 1, name="base"), played(game, tmp_path / "b", 3, seed=50, name="better")
    again = played(game, tmp_path / "again", 0, 1, seed=50, name="base")
    out = tmp_path / "found.json"
    assert main(["compare", str(a), str(b), str(again), "--noise-floor", str(a), str(again), "--json", str(out)]) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    assert "policy base: 8 episodes, 0 unscored, seed 0" in " ".join(printed.split())
    em = next(line.split() for line in printed.splitlines() if line.startswith("em "))
    assert em == [
        "em",
        "8",
        "0.750",
        "0.875",
        "+0.125",
        "[-0.334,",
        "0.534]",
        "1.0000",
        "0.245,",
        "too",
        "few",
        "pairs",
    ]
    assert "right now, or more often (2): synthetic-sample-0-0, synthetic-sample-0-1" in printed
    assert "no longer right, or less often (1): synthetic-sample-0-3" in printed
    assert printed.count("95% interval") == 6, "two comparisons with three tables each"
    written = out.read_text()
    assert '"gained"' in written
    assert written.count('"measures"') == 2
    assert '"bootstrap_interval"' in written


def test_a_p_value_is_never_0_and_none_where_there_is_no_pair() -> None:
    one = Difference(20, 0.0, 1.0, 1.0, (0.8, 1.0), 2e-6)
    assert [_p_value(replace(one, pairs=pairs, p_value=p)) for pairs, p in ((20, 2e-6), (20, 0.0123), (0, 1.0))] == [
        "<0.0001",
        "0.0123",
        "-",
    ]


def test_the_command_says_what_cannot_be_compared(game: Game, tmp_path: Path, capsys: Capture) -> None:
    a = played(game, tmp_path / "a")
    for argv, expected in [
        ([str(a)], "needs two runs or more"),
        ([str(a), "nowhere"], "No file 'nowhere'"),
        ([str(a), str(a), "--json", "no/folder/x.json"], "there is no folder 'no/folder'"),
    ]:
        assert main(["compare", *argv]) == 2
        assert expected in capsys.readouterr().err
    assert main(["compare", str(a), str(a)]) == 0
    assert "noise: unknown" in capsys.readouterr().out
