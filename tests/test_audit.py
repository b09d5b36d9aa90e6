"""The audit: it proves what is provable, and says of everything else what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from mtr_env.audit import SHORT_CUTS, AuditReport, CorpusAnswers, answers_in, audit
from mtr_env.errors import InfrastructureError, ToolsetError
from mtr_env.question import Question
from mtr_env.registration import DATASETS, make_game
from mtr_env.tool import Toolset
from mtr_env.toolactors.corpus import Corpus, Document
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.trace import Response

Row = dict[str, Any]


def hotpot_row(number: int, question: str, answer: str, pages: dict[str, list[str]], support: Any, **more: Any) -> Row:
    return {
        "_id": f"h{number}",
        "question": question,
        "answer": answer,
        "type": "bridge",
        "level": "hard",
        "context": [[title, sentences] for title, sentences in pages.items()],
        "supporting_facts": support,
        **more,
    }


HOUSE = {"House": ["The house is Ann Aalto's.", " It is red."], "Ann Aalto": ["She was born in Turku."]}
FINE = hotpot_row(1, "Where was the owner of the House born?", "Turku", HOUSE, [["House", 0], ["Ann Aalto", 0]])
HIDDEN = hotpot_row(2, "Which town?", "Turku", HOUSE, [["House", 0], ["Ann Aalto", 0]])
UNSTATED = hotpot_row(3, "Where was the owner of the House born?", "Oulu", HOUSE, [["House", 0], ["Ann Aalto", 0]])


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def file(*rows: Row) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return file


@pytest.fixture(scope="module")
def synthetic() -> AuditReport:
    return audit(make_game("MTR-Synthetic-v0", limit=40))


@pytest.mark.parametrize("env_id", DATASETS)
def test_every_question_of_a_bundled_sample_is_provable(env_id: str) -> None:
    report = audit(make_game(env_id))
    assert report.questions >= 20
    assert (report.oracle_em, report.oracle_reward, report.provable) == (1.0, 1.0, report.questions), report.unprovable
    assert (report.leaks, report.invalid_responses, report.toolset_problems) == (0, 0, [])
    assert report.responses > 100


@pytest.mark.parametrize(
    ("env_id", "file", "least"),
    [
        ("MTR-HotpotQA-v0", "hotpotqa/dev_shared.jsonl", 0.98),
        ("MTR-MuSiQue-v0", "musique/dev_shared.jsonl", 0.95),
        ("MTR-2WikiMultiHopQA-v0", "2wikimultihopqa/dev_shared.jsonl", 0.98),
    ],
)
def test_the_real_sets_are_provable_and_no_short_cut_pays(
    env_id: str, file: str, least: float, shared_data: Callable[[str], Path]
) -> None:
    report = audit(make_game(env_id, source=shared_data(file)))
    assert report.provable >= least * report.questions, report.unprovable
    assert len(report.unprovable) == report.questions - report.provable
    assert all(item.reason for item in report.unprovable)
    assert (report.leaks, report.invalid_responses, report.warnings) == (0, 0, [])
    random_em = report.short_cuts["random-valid"].em
    assert random_em is not None
    assert random_em < 0.1


def test_the_synthetic_world_is_provable_and_no_short_cut_pays(synthetic: AuditReport) -> None:
    assert (synthetic.provable, synthetic.oracle_reward) == (40, 1.0)
    assert synthetic.warnings == []
    assert set(synthetic.short_cuts) == set(SHORT_CUTS)
    assert sum(family.questions for family in synthetic.families.values()) == 40
    tools = synthetic.distractor_tools
    assert tools.gold_resolve_rate is not None
    assert tools.distractor_resolve_rate is not None
    assert tools.difference == tools.gold_resolve_rate - tools.distractor_resolve_rate


def test_the_report_has_the_promised_shape_as_json(synthetic: AuditReport) -> None:
    found = msgspec.json.decode(msgspec.json.encode(synthetic))
    assert (found["questions"], found["oracle_em"], found["provable"]) == (40, 1.0, 40)
    assert (found["leaks"], found["invalid_responses"], found["unprovable"]) == (0, 0, [])
    for short_cut in found["short_cuts"].values():
        assert 0 <= short_cut["reward"] <= short_cut["em"] <= 1
    assert (found["split"], found["env_id"], found["seed"]) == ("sample", "MTR-Synthetic-v0", 0)
    assert found["tools_per_question"] > 3
    assert found["seconds"] > 0


def test_the_same_audit_twice_finds_the_same(synthetic: AuditReport) -> None:
    again = audit(make_game("MTR-Synthetic-v0", limit=40))
    assert replace(again, seconds=0.0) == replace(synthetic, seconds=0.0)


def test_an_unprovable_question_is_listed_with_its_reason(write: Callable[..., Path]) -> None:
    report = audit(make_game("MTR-HotpotQA-v0", source=write(FINE, HIDDEN, UNSTATED)))
    assert (report.questions, report.provable) == (3, 1)
    assert report.oracle_em == pytest.approx(1 / 3)
    assert [item.question_id for item in report.unprovable] == ["h2", "h3"]
    assert "no search with words seen so far finds the page" in report.unprovable[0].reason
    assert report.unprovable[1].reason == "no value that the tools return states the answer"
    assert [(family.questions, family.provable) for family in report.families.values()] == [(3, 1)]


def test_too_few_steps_are_a_reason(write: Callable[..., Path]) -> None:
    report = audit(make_game("MTR-HotpotQA-v0", source=write(FINE), max_steps=1))
    assert "1 are allowed" in report.unprovable[0].reason


def test_annotations_that_were_dropped_are_listed(write: Callable[..., Path]) -> None:
    row = {**FINE, "supporting_facts": [["House", 0], ["Ann Aalto", 0], ["House", 9]]}
    report = audit(make_game("MTR-HotpotQA-v0", source=write(row)))
    assert [(item.question_id, "House" in item.text) for item in report.dropped] == [("h1", True)]


def test_gold_and_distractor_tools_are_asked_about_every_title(write: Callable[..., Path]) -> None:
    row = hotpot_row(
        4,
        "Where was the director of film Low Tide (1952 Film) born?",
        "Bergen",
        {
            "Low Tide (1952 film)": ["Low Tide is a film by Nils Aker."],
            "Nils Aker": ["He comes from Bergen."],
            "Kit": ["A kit is young."],
        },
        [["Low Tide (1952 film)", 0], ["Nils Aker", 0]],
        evidences=[["Low Tide", "director", "Nils Aker"], ["Nils Aker", "place of birth", "Bergen"]],
    )
    game = make_game("MTR-2WikiMultiHopQA-v0", source=write(row), tool_maker=TemplateToolMaker(extra_tools=0))
    tools = audit(game).distractor_tools
    assert tools.gold_resolve_rate == pytest.approx(2 / 6)  # each of two tools knows one of three titles
    assert (tools.distractor_resolve_rate, tools.difference) == (None, None)


# ----------------------------------------------------------------------------------------------- fakes that misbehave


class LeakyMaker:
    """Names the answer in a description."""

    name = "leaky"

    def make(self, question: Question, key: str = "") -> Toolset:
        toolset = TemplateToolMaker().make(question, key)
        first = replace(toolset.tools[0], description=f"Often says {question.answer}.")
        bad_name = replace(toolset.tools[1], name="Not Portable")
        return replace(toolset, tools=(first, bad_name, *toolset.tools[2:]))


def test_leaks_and_toolset_problems_are_counted_and_named(write: Callable[..., Path]) -> None:
    report = audit(make_game("MTR-HotpotQA-v0", source=write(FINE), tool_maker=LeakyMaker()), short_cuts=())
    assert report.leaks == len(report.leaking) == 1
    assert report.leaking[0].question_id == "h1"
    assert "gives away 'turku'" in report.leaking[0].text
    assert "'Not Portable' is not portable" in report.toolset_problems[0].text
    assert report.unprovable[0].reason.startswith("its toolset was refused: Invalid toolset")


class RefusingMaker:
    """Cannot make the tools of one question."""

    name = "refusing"

    def make(self, question: Question, key: str = "") -> Toolset:
        if question.id == "h2":
            raise ToolsetError("no tools for this one")
        return TemplateToolMaker().make(question, key)


def test_a_refused_toolset_is_a_finding_and_the_others_are_audited(write: Callable[..., Path]) -> None:
    report = audit(make_game("MTR-HotpotQA-v0", source=write(HIDDEN, FINE), tool_maker=RefusingMaker()))
    assert (report.questions, report.provable) == (2, 1)
    assert report.unprovable[0].reason == "its toolset was refused: no tools for this one"
    assert report.toolset_problems[0].text == "no tools for this one"


class WrongActor:
    """Breaks the schema of ``search``."""

    name = "wrong"

    def __init__(self) -> None:
        self.inner = GroundedToolActor()

    def respond(self, call: Any, spec: Any, view: Any, history: Any, key: Any) -> Response:
        response = self.inner.respond(call, spec, view, history, key)
        return replace(response, value=["no object"]) if spec.binding == "search" else response


def test_responses_that_break_their_schema_are_counted(write: Callable[..., Path]) -> None:
    report = audit(
        make_game("MTR-HotpotQA-v0", source=write(FINE), tool_actor=WrongActor()), short_cuts=("first-search",)
    )
    assert report.invalid_responses >= 1
    assert report.responses >= report.invalid_responses
    assert report.distractor_tools.gold_resolve_rate is None


class DownActor:
    """Down, always."""

    name = "down"

    def respond(self, call: Any, spec: Any, view: Any, history: Any, key: Any) -> Response:
        raise InfrastructureError("no network")


def test_a_failing_actor_leaves_unscored_episodes_out_and_warns(write: Callable[..., Path]) -> None:
    game = make_game("MTR-HotpotQA-v0", source=write(FINE), tool_actor=DownActor())
    report = audit(game, short_cuts=("first-search", "no-tool"))
    assert (report.oracle_em, report.oracle_unscored) == (None, 1)
    assert report.unprovable[0].reason == "the ToolActor failed: no network"
    first_search = report.short_cuts["first-search"]
    assert (first_search.em, first_search.scored, first_search.unscored) == (None, 0, 1)
    assert report.short_cuts["no-tool"].scored == 1
    assert any("1 episodes of first-search (100.0%) are unscored" in warning for warning in report.warnings)


def test_a_short_cut_that_pays_more_than_half_of_the_oracle_is_a_warning(write: Callable[..., Path]) -> None:
    report = audit(make_game("MTR-HotpotQA-v0", source=write(FINE)), short_cuts=("oracle", "no-tool"))
    assert report.warnings == ["short cut oracle earns 1.000, more than half of the oracle's 1.000"]


def test_noise_is_named_where_it_defeats_the_oracle() -> None:
    report = audit(make_game("MTR-Synthetic-v0", limit=10, noise={"tool_failure": 1.0}), short_cuts=())
    assert report.provable == 0
    assert all("responses were noise" in item.reason for item in report.unprovable)


def test_gold_answers_are_looked_up_in_a_corpus_by_their_words() -> None:
    corpus = Corpus([Document("Åbo", "Turku's old name."), Document("Ann Aalto", "A painter of Oulu.")])
    golds = [("Turku",), ("Helsinki", "ann aalto"), ("Oulu painter",), ("yes",), ("Abo",), ("Tur",)]
    assert answers_in(corpus, golds) == CorpusAnswers(answers=5, found=3)


def test_a_report_says_whether_its_actor_has_noise_and_a_corpus(synthetic: AuditReport) -> None:
    assert (synthetic.noisy, synthetic.corpus_answers) == (False, None)
    assert audit(make_game("MTR-Synthetic-v0", limit=2, noise=0.2), short_cuts=()).noisy
