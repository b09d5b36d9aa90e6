"""A chat endpoint plays an episode: one call, one trace, whoever asks."""

from __future__ import annotations

import asyncio
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from test_readme import blocks

from benchmarks.parity_drivers import endpoint as native_driver
from benchmarks.parity_drivers import endpoint_text as text_driver
from mtr_env.adapters.endpoint import aplay, play
from mtr_env.errors import UnknownQuestionError
from mtr_env.llm import ModelError
from mtr_env.registration import make_game
from mtr_env.reward import score
from mtr_env.testing.parity import Scenario, differences, expected, scenarios
from mtr_env.trace import encode
from tests.chat_server import ChatServer

pytest.importorskip("openai", reason="the llm extra is not installed (pip install -e '.[llm]')")
SYNTHETIC = "MTR-Synthetic-v0"
KEY = "sk-canary-0123456789"
PAGE = Path(__file__).resolve().parents[1] / "docs/adapters/endpoint.md"


@pytest.fixture(autouse=True)
def no_endpoint_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def yes(body: dict[str, Any]) -> str:
    return "<answer>yes</answer>"


@pytest.mark.parametrize("driver", [native_driver, text_driver], ids=["native", "text"])
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_an_endpoint_plays_every_scenario_as_plain_gymnasium_does(scenario: Scenario, driver: Any) -> None:
    assert differences(expected(scenario), driver.play(scenario)) == ()


def test_a_native_model_is_given_the_tools_and_a_text_model_reads_them() -> None:
    with ChatServer(yes) as server:
        for mode in ("native", "text"):
            play(SYNTHETIC, model="m", base_url=server.url, mode=mode, max_steps=3, seed=5)
        native, text = server.bodies
    names = [tool["function"]["name"] for tool in native["tools"]]
    assert "search" in names and "tools" not in text
    assert "You may write at most 3 messages" in native["messages"][0]["content"]
    assert all(name in text["messages"][0]["content"] for name in names)
    assert native["model"] == "m" and native["temperature"] == 0.0 and native["max_tokens"] == 1024


def test_options_and_seed_choose_the_episode() -> None:
    with ChatServer(yes) as server:
        settings: dict[str, Any] = {"model": "m", "base_url": server.url}
        trace = play("MTR-HotpotQA-v0", "sample-hotpotqa-03", **settings, seed=7, grammar="react", max_steps=2)
        drawn = play(make_game(SYNTHETIC, limit=9), **settings, seed=7)
    assert (trace.question.id, trace.seed, trace.setup.grammar) == ("sample-hotpotqa-03", 7, "react")
    assert trace.setup.max_steps == 2 and trace.answer == "yes"
    assert drawn.question.id == make_game(SYNTHETIC, limit=9).question_for(7)


def test_many_episodes_at_once_share_a_client_and_each_is_its_own() -> None:
    game = make_game(SYNTHETIC, limit=8)

    async def together(url: str) -> list[bytes]:
        starts = [aplay(game, i, model="m", base_url=url, seed=n) for n, i in enumerate(game.world.ids)]
        return [encode(trace) for trace in await asyncio.gather(*starts)]

    with ChatServer(yes, latency=0.05) as server:
        at_once = asyncio.run(together(server.url))
        assert server.peak > 1
        alone = [encode(play(game, i, model="m", base_url=server.url, seed=n)) for n, i in enumerate(game.world.ids)]
    assert at_once == alone
    assert len(set(at_once)) == 8


def test_the_samples_of_a_group_differ_in_the_seeds_of_their_requests_only() -> None:
    game = make_game(SYNTHETIC, limit=1, noise=0.2)
    call = '<tool_call>{"name": "search", "arguments": {"query": "film"}}</tool_call>'
    with ChatServer(lambda body: yes(body) if len(body["messages"]) > 2 else call) as server:
        settings: dict[str, Any] = {"model": "m", "base_url": server.url, "mode": "text", "seed": 3}
        traces = [play(game, **settings, sample=number) for number in (0, 1, 0)]
        seeds = [(first["seed"], second["seed"]) for first, second in zip(*[iter(server.bodies)] * 2, strict=True)]
    assert traces[0] == traces[1] == traces[2]
    assert seeds[0] == seeds[2] and len({*seeds[0], *seeds[1]}) == 4


def test_an_endpoint_that_cannot_answer_leaves_the_episode_unscored() -> None:
    with ChatServer(yes, script=["400"]) as server:
        trace = play(SYNTHETIC, model="m", base_url=server.url)
    assert trace.stop_reason == "infrastructure"
    assert score(trace).total is None
    assert trace.faults[0].message.startswith(f"policy: 'm' at {server.url}: ")


@pytest.mark.parametrize("retries", [0, 1])
def test_a_request_is_sent_again_as_often_as_is_asked_for(retries: int) -> None:
    with ChatServer(yes, script=("429_retry_after",), retry_after=0.01) as server:
        trace = play(SYNTHETIC, model="m", base_url=server.url, retries=retries)
    assert server.requests == 1 + retries
    assert trace.stop_reason == ("answer" if retries else "infrastructure")


def test_every_argument_stands_on_the_page() -> None:
    rows = {
        name
        for row in PAGE.read_text(encoding="utf-8").splitlines()
        if row.startswith("| `")
        for name in row.split("|")[1].split("`")
    }
    assert set(signature(aplay).parameters) - {"options"} <= rows


def test_a_key_is_sent_to_the_server_and_stands_in_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(yes, key=KEY) as server:
        given = play(SYNTHETIC, model="m", base_url=server.url, api_key=KEY)
        refused = play(SYNTHETIC, model="m", base_url=server.url, api_key=f"{KEY}-wrong")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        found = play(SYNTHETIC, model="m", base_url=server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "another")
        changed = play(SYNTHETIC, model="m", base_url=server.url)
        ends = [trace.stop_reason for trace in (given, refused, found, changed)]
    assert ends == ["answer", "infrastructure", "answer", "infrastructure"]
    assert "Check the key given as api_key." in refused.faults[0].message
    assert not [trace for trace in (given, refused, found, changed) if KEY.encode() in encode(trace)]


@pytest.mark.page
def test_the_example_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    [example] = [block for block in blocks(PAGE.read_text()) if block.language == "python"]
    with ChatServer(yes) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        exec(compile(example.code, str(PAGE), "exec"), {"__name__": "page"})
        assert server.requests == 5
    assert capsys.readouterr().out.splitlines()[0].startswith("yes ")


def test_what_would_end_every_episode_is_raised_before_the_first_request() -> None:
    with pytest.raises(ModelError, match="set the environment variable OPENAI_API_KEY"):
        play(SYNTHETIC, model="m")
    with ChatServer(yes) as server:
        with pytest.raises(UnknownQuestionError):
            play(SYNTHETIC, "no such question", model="m", base_url=server.url)
        with pytest.raises(ValueError, match="mode is one of 'native', 'text'"):
            play(SYNTHETIC, model="m", base_url=server.url, mode="json")
        with pytest.raises(TypeError, match="leave split out"):
            play(make_game(SYNTHETIC, limit=1), model="m", base_url=server.url, split="train")
        assert server.requests == 0
