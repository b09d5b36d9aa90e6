"""Options of a command line as plugs: who writes the tools, who plays them, and which model plays the episodes.

``mtr-env``, the training programs and the benchmarks take the same names: ``--tool-...`` is about the tools,
``--policy-...`` about the model that plays. Messages are in the words of a command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mtr_env.episode import Game
from mtr_env.evaluate.players import load_plug, load_policy
from mtr_env.frozen import frozen_actor
from mtr_env.llm import ChatClient, ModelError, Spent
from mtr_env.policies import POLICY_NAMES, unknown_policy
from mtr_env.policies.base import AnyPolicy
from mtr_env.policies.chat import AutoAgent
from mtr_env.policies.local import LocalModel, load_local
from mtr_env.policies.native import MODES
from mtr_env.registration import make_game
from mtr_env.store import Store
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.cassette import CassetteToolActor
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.ladder import LadderToolActor
from mtr_env.toolactors.llm import LLMToolActor
from mtr_env.toolactors.prompt import KNOWLEDGE
from mtr_env.toolmakers.base import ToolMaker
from mtr_env.toolmakers.cassette import CassetteToolMaker
from mtr_env.toolmakers.llm import LLMToolMaker
from mtr_env.world_files import WorldFolder

MAKERS = ("template", "llm")
ACTORS = ("grounded", "llm", "ladder")
MODELS = ("chat", "local")
"""The policies that ``--policy-...`` options are about."""
_MODELLED = ("llm", "ladder")


def option(default: Any, help: str, metavar: str | None = None) -> Any:
    """A dataclass field that a command line shows."""
    return dataclasses.field(default=default, metadata={"help": help, "metavar": metavar})


@dataclass
class ToolOptions:
    """Who writes a question's tools, and who plays them."""

    tool_maker: str | None = option(None, "who writes the tools: template (default), llm, or your module:attr", "NAME")
    tool_actor: str | None = option(
        None,
        "who plays them: grounded (default), llm, ladder (a model where the evidence has no answer), or module:attr",
        "NAME",
    )
    tool_model: str | None = option(None, "the model of llm and ladder, as its server calls it", "NAME")
    tool_base_url: str | None = option(None, "its server, such as http://127.0.0.1:8000/v1 (OpenAI)", "URL")
    tool_key_variable: str = option("OPENAI_API_KEY", "the environment variable with its key", "NAME")
    tool_temperature: str = option("0", "of its sampling; none sends none", "T")
    tool_prices: str | None = option(None, "USD per million tokens, to show what it costs", "IN,OUT")
    knowledge: str | None = option(None, f"what it may know: {', '.join(KNOWLEDGE)} (evidence)", "NAME")
    cassette: str | None = option(None, "record what it says here; what is there is not asked", "FILE")
    replay: bool = option(False, "ask nothing: what the cassette does not hold is an outage")
    concurrency: int = option(64, "episodes, and requests to a model, at a time", "N")


@dataclass
class PlayerOptions:
    """A model that plays: one behind an endpoint, or a local checkpoint, of which the model and its temperature are
    all that is asked."""

    policy_model: str | None = option(None, "the model, as its server calls it; local: a folder or hub id", "NAME")
    policy_base_url: str | None = option(None, "its server, such as http://127.0.0.1:8000/v1 (OpenAI)", "URL")
    policy_key_variable: str = option("OPENAI_API_KEY", "the environment variable with its key", "NAME")
    policy_temperature: str = option("0", "of its sampling; none sends none", "T")
    policy_prices: str | None = option(None, "USD per million tokens, to show what it costs", "IN,OUT")
    policy_mode: str = option("native", "how it plays: native tool calls, or text in the grammar", "NAME")


def named_game(env_id: str, options: Mapping[str, Any]) -> Game:
    """:func:`~mtr_env.registration.make_game` with ``options`` of a configuration, in which ``tool_maker`` and
    ``tool_actor`` may be the text ``module:attr``. Raises as it does and as
    :func:`~mtr_env.evaluate.players.load_plug`."""
    plugged = dict(options)
    for name, what, method in (("tool_maker", "ToolMaker", "make"), ("tool_actor", "ToolActor", "respond")):
        if isinstance(plugged.get(name), str):
            plugged[name] = load_plug(plugged[name], what, method)
    return make_game(env_id, **plugged)


def flag(name: str) -> str:
    """How a field is written on a command line: ``--tool-model``."""
    return f"--{name.replace('_', '-')}"


class Tools:
    """The ToolMaker and the ToolActor that options ask for, made once; ``client`` is their model's, if they have one.
    ``seeded=False``: the cassette's responses serve every seed, for a training, each of whose steps has its own.

    Raises ``ValueError`` for options that do not go together and for an unknown name, ``ImportError`` for a missing
    package or module, :class:`~mtr_env.llm.ModelError` for a missing key, and what :class:`~mtr_env.store.Store`
    raises.
    """

    def __init__(self, options: ToolOptions, *, seeded: bool = True) -> None:
        self._options, self._seeded = options, seeded
        _check(options)
        self.client = _tool_client(options)
        self.maker: ToolMaker | None = self._make_maker()
        self._asked: ToolActor | None = self._make_asked()

    @property
    def spent(self) -> Callable[[], Spent] | None:
        """Says what the tools' model has used, for :func:`mtr_env.evaluate.run`; ``None`` where there is none."""
        client = self.client
        return None if client is None else lambda: client.spent

    def plugs(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """``options`` of :func:`~mtr_env.registration.make_game` with these plugs in their places. Raises
        ``ValueError`` for a world whose responses are recorded when the evidence is to answer."""
        plugged = self._made(options)
        if self._options.tool_actor in ("grounded", "ladder"):
            evidence = _evidence(options)
            if self._options.tool_actor == "ladder":
                plugged |= {"tool_actor": self.actor(evidence), "corpus": None}
        elif self._asked is not None:
            plugged["tool_actor"] = self._asked
        return plugged

    def game(self, env_id: str, **options: Any) -> Game:
        """The game to be played. Raises as ``make_game`` and :meth:`plugs`, and ``ValueError`` for tools that only a
        model can play and no model."""
        if self._options.tool_maker == "llm" and self._asked is None:
            raise ValueError(
                "--tool-maker llm writes tools that only a model can play: give --tool-actor llm or ladder."
            )
        return make_game(env_id, **self.plugs(options))

    def evidence(self, env_id: str, **options: Any) -> Game:
        """The game with these tools and the world's own ToolActor, with which :meth:`actor` is compared."""
        return make_game(env_id, **self._made(options))

    def actor(self, evidence: ToolActor) -> ToolActor:
        """Who plays the tools where ``evidence`` is the world's own ToolActor."""
        if self._asked is None:
            return evidence
        if self._options.tool_actor != "ladder":
            return self._asked
        if not isinstance(evidence, GroundedToolActor):
            raise ValueError(_RECORDED)
        return LadderToolActor(evidence, self._asked)

    def _made(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {**options} if self.maker is None else {**options, "tool_maker": self.maker}

    @cached_property
    def _store(self) -> Store | None:
        o = self._options
        return None if o.cassette is None else Store(o.cassette, readonly=o.replay)

    def _make_maker(self) -> ToolMaker | None:
        name = self._options.tool_maker
        maker: ToolMaker | None = None
        if name in (None, "template"):
            return None
        if name != "llm":
            maker = load_plug(str(name), "ToolMaker", "make")
        elif self.client is not None:
            maker = LLMToolMaker(self.client)
        if self._store is not None:
            return CassetteToolMaker(maker, self._store, "replay" if self._options.replay else "record")
        return maker

    def _make_asked(self) -> ToolActor | None:
        """Who plays what the evidence does not: a model or an actor of the user's own, with its cassette."""
        o = self._options
        actor: ToolActor | None = None
        if o.tool_actor in (None, "grounded"):
            return None
        if o.tool_actor not in _MODELLED:
            actor = load_plug(str(o.tool_actor), "ToolActor", "respond")
        elif self.client is not None:
            knowledge: Any = o.knowledge or "evidence"
            actor = LLMToolActor(self.client, knowledge)
        if self._store is not None:
            return CassetteToolActor(actor, self._store, "replay" if o.replay else "record", seeded=self._seeded)
        return actor


_RECORDED = (
    "The responses of this world are recorded and there is no other evidence: without --tool-actor they are replayed, "
    "with --tool-actor llm a model plays its tools."
)


def _evidence(options: Mapping[str, Any]) -> GroundedToolActor:
    """The grounded ToolActor of a world's options."""
    if options.get("world") is not None:
        actor = frozen_actor(WorldFolder(options["world"]))
        if not isinstance(actor, GroundedToolActor):
            raise ValueError(_RECORDED)
        return actor
    corpus = options.get("corpus")
    return GroundedToolActor(None if corpus is None else Corpus.of(corpus))


def _check(o: ToolOptions) -> None:
    for name, what, known in (("tool_maker", "ToolMaker", MAKERS), ("tool_actor", "ToolActor", ACTORS)):
        value = getattr(o, name)
        if value is not None and value not in known and ":" not in value:
            raise ValueError(f"unknown {what} {value!r}; expected {', '.join(known)}, or module:attr of your own.")
    makes, plays = o.tool_maker == "llm", o.tool_actor in _MODELLED
    for name in _given(
        o, ToolOptions, "tool_model", "tool_base_url", "tool_key_variable", "tool_temperature", "tool_prices"
    ):
        if not (makes or plays):
            raise ValueError(f"{flag(name)} is for --tool-maker llm and --tool-actor llm or ladder.")
    if o.knowledge is not None and not plays:
        raise ValueError("--knowledge is for --tool-actor llm or ladder.")
    if o.cassette is not None and o.tool_maker in (None, "template") and o.tool_actor in (None, "grounded"):
        raise ValueError("--cassette is for a --tool-maker or --tool-actor that is asked: the evidence costs nothing.")
    if o.replay and o.cassette is None:
        raise ValueError("--replay needs the --cassette FILE to replay.")
    if (makes or plays) and o.tool_model is None and not o.replay:
        asks = f"--tool-actor {o.tool_actor}" if plays else "--tool-maker llm"
        raise ValueError(f"{asks} needs --tool-model NAME (and --tool-base-url URL for a server of yours).")


def _tool_client(o: ToolOptions) -> ChatClient | None:
    if o.tool_model is None:
        return None
    with _worded("tool_base_url"):
        client = ChatClient(
            o.tool_model,
            base_url=o.tool_base_url,
            key_variable=o.tool_key_variable,
            concurrency=o.concurrency,
            prices=_prices("tool_prices", o.tool_prices),
            temperature=_temperature("tool_temperature", o.tool_temperature),
        )
        if not o.replay:
            client.check()
    return client


@contextmanager
def _worded(base_url: str) -> Iterator[None]:
    """A client's messages in the words of a command line; ``base_url`` is the option's field."""
    try:
        yield
    except (ValueError, ModelError) as error:
        error.args = (str(error).replace("base_url", flag(base_url)),)
        raise


def check_player(o: PlayerOptions, chat: bool, what: str = "--policy chat") -> None:
    """Raises ``ValueError`` when a chat model is to play and none is named, or one is named and does not play;
    ``what`` is the option that asks for it."""
    if o.policy_mode not in MODES:
        raise ValueError(f"unknown --policy-mode {o.policy_mode!r}; expected one of {', '.join(map(repr, MODES))}.")
    if chat and o.policy_model is None:
        raise ValueError(f"{what} needs --policy-model NAME (and --policy-base-url URL, unless it is OpenAI's).")
    for name in [] if chat else _given(o, PlayerOptions):
        raise ValueError(f"{flag(name)} is for {what}.")


def chat_agent(o: PlayerOptions, grammar: Any, *, concurrency: int = 64, seed: int = 0) -> AutoAgent:
    """The agent that the options ask for. Raises ``ValueError``, ``ImportError`` and
    :class:`~mtr_env.llm.ModelError` now for what would end each episode."""
    mode: Any = o.policy_mode
    with _worded("policy_base_url"):
        client = ChatClient(
            o.policy_model or "",
            base_url=o.policy_base_url,
            key_variable=o.policy_key_variable,
            concurrency=concurrency,
            prices=_prices("policy_prices", o.policy_prices),
            temperature=_temperature("policy_temperature", o.policy_temperature),
        )
        client.check()
    return AutoAgent(client, mode, grammar, seed=seed)


def player(policy: str, o: PlayerOptions, game: Game, concurrency: int) -> tuple[AnyPolicy, str]:
    """The policy of this name and what it is called in a record: ``chat``, ``local``, or what ``load_policy`` takes.
    Raises as both, and as :func:`~mtr_env.policies.local.load_local`."""
    known = (*POLICY_NAMES, *MODELS)
    if ":" not in policy and policy not in known:
        raise ValueError(f"{unknown_policy(policy, known)} A policy of yours is given as module:attr.")
    if policy == "local":
        model = _local_model(o, game)
        return model, model.name
    check_player(o, policy == "chat")
    if policy != "chat":
        return load_policy(policy, game), policy
    agent = chat_agent(o, game.grammar, concurrency=concurrency)
    return agent, agent.name


def _local_model(o: PlayerOptions, game: Game) -> LocalModel:
    if o.policy_model is None:
        raise ValueError("--policy local needs --policy-model, a checkpoint folder or a hub id.")
    if _is_missing_folder(o.policy_model):
        raise ValueError(f"--policy-model: there is no folder {o.policy_model!r}; a checkpoint is one, or a hub id.")
    taken = ("policy_model", "policy_temperature")
    for name in [name for name in _given(o, PlayerOptions) if name not in taken]:
        raise ValueError(f"{flag(name)} is for --policy chat.")
    temperature = _temperature("policy_temperature", o.policy_temperature)
    if temperature is None:
        raise ValueError("--policy-temperature: a local model needs a number, 0 for greedy play.")
    return load_local(o.policy_model, game.grammar, temperature=temperature)


def _is_missing_folder(model: str) -> bool:
    """Whether this means a folder that is not there, rather than a hub id (``name`` or ``owner/name``)."""
    path = Path(model)
    is_path = path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or model.endswith("/")
    return not path.exists() and (is_path or (len(path.parts) == 2 and path.parent.is_dir()))


def _given(o: Any, kind: type[Any], *names: str) -> list[str]:
    """Those of ``kind``'s fields that do not have the default that they have in ``o``'s own class."""
    defaults = {field.name: field.default for field in dataclasses.fields(o)}
    names = names or tuple([field.name for field in dataclasses.fields(kind)])
    return [name for name in names if getattr(o, name) != defaults[name]]


def _prices(name: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        first, second = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"{flag(name)}: expected USD per million tokens as IN,OUT, found {text!r}.") from None
    return first, second


def _temperature(name: str, text: str) -> float | None:
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise ValueError(f"{flag(name)}: expected a number or none, found {text!r}.") from None
