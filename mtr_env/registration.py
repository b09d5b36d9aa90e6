"""The five ids, and the functions behind ``gym.make`` and ``gym.make_vec``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import DatasetError
from mtr_env.grammar import Grammar
from mtr_env.reward import Part, Rubric
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import Noise, NoisyToolActor
from mtr_env.toolmakers.base import ToolMaker
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.vector import MTRVectorEnv
from mtr_env.worlds.base import World
from mtr_env.worlds.dataset import open_world
from mtr_env.worlds.synthetic import SyntheticWorld

SYNTHETIC = "MTR-Synthetic-v0"
DATASETS = {
    "MTR-HotpotQA-v0": "hotpotqa",
    "MTR-MuSiQue-v0": "musique",
    "MTR-2WikiMultiHopQA-v0": "2wikimultihopqa",
    "MTR-Bamboogle-v0": "bamboogle",
}
ENV_IDS = (*DATASETS, SYNTHETIC)
Path = str | os.PathLike[str]


def register_envs() -> None:
    """Registers the ids of the package with Gymnasium; doing it again changes nothing."""
    for env_id in ENV_IDS:
        if env_id in gym.registry:
            continue
        kind = "synthetic_" if env_id == SYNTHETIC else ""
        gym.register(
            env_id,
            entry_point=f"mtr_env.registration:make_{kind}env",
            vector_entry_point=f"mtr_env.registration:make_{kind}vector_env",
            kwargs={} if env_id == SYNTHETIC else {"env_id": env_id},
            # The environment checks the order of calls itself, and Gymnasium's wrapper would hide snapshot();
            # check_env runs in the tests, where it costs nobody anything.
            order_enforce=False,
            disable_env_checker=True,
        )


class EnvOptions(TypedDict, total=False):
    """What every id takes. ``gym.make(id, ...)`` has these as keyword arguments, and ``render_mode``."""

    source: Path | None
    """A local file or folder in an upstream layout (not for the synthetic world)."""
    split: str
    """``"sample"`` (the default), ``"train"`` or ``"validation"``; the synthetic world also has ``"test"``."""
    corpus: Path | Corpus | None
    """A JSONL file of titles and texts to search instead of the question's own paragraphs."""
    tool_maker: ToolMaker | None
    """Writes the tools; ``TemplateToolMaker()`` unless told."""
    tool_actor: ToolActor | None
    """Simulates the tools; ``GroundedToolActor()`` unless told."""
    rubric: str | Rubric | Part | None
    """The reward; ``"mtr-v0"`` unless told. A function of the trace is the whole reward."""
    grammar: str | Grammar
    """``"hermes"`` (the default), ``"react"``, or either with ``-compact``: how calls and tools are written."""
    max_steps: int
    """After so many steps (8) without an answer the episode is truncated."""
    limit: int | None
    """The first so many questions only."""


class SyntheticOptions(EnvOptions, total=False):
    """What ``MTR-Synthetic-v0`` takes beside :class:`EnvOptions`. ``limit`` may be any number (1,000 unless told)."""

    hops: int | Sequence[int]
    """How many reasoning steps a question needs: a number from 2 to 4, or several; all unless told."""
    distractors: int
    """How many paragraphs a question has beside the gold ones (6)."""
    extra_tools: int
    """How many distractor tools a toolset has (3)."""
    noise: float | Mapping[str, float] | Noise
    """One probability shared by all kinds, or a mapping of kinds (``tool_failure``, ``not_found``, ``partial``,
    ``contradicting``); 0 unless told."""
    families: Sequence[str] | None
    """Some of the question families only."""
    world_seed: int
    """Another number, another world (0)."""


def _game(env_id: str, world: World, actor: ToolActor, maker: ToolMaker, options: EnvOptions) -> Game:
    _check_plug("tool_actor", actor, "respond")
    _check_plug("tool_maker", maker, "make")
    return Game(
        world,
        maker,
        actor,
        options.get("rubric") or "mtr-v0",
        options.get("grammar") or "hermes",
        options.get("max_steps", 8),
        env_id=env_id,
    )


def _check_plug(what: str, plug: object, method: str) -> None:
    if isinstance(plug, type):
        raise TypeError(f"{what}: expected an object, found the class {plug.__name__}; give {plug.__name__}().")
    missing = [name for name in ("name", method) if not hasattr(plug, name)]
    if missing:
        raise TypeError(
            f"{what}: expected an object with the text `name` (it stands in every trace) and the method `{method}`, "
            f"found {type(plug).__name__} without {' and '.join(missing)}."
        )


def make_game(env_id: str, **options: Unpack[EnvOptions]) -> Game:
    """What the episodes of a data set id share: its world, its plugs and its rules.

    Raises :class:`~mtr_env.errors.DatasetError` for a file or split that cannot be used.
    """
    _refuse_unknown(options, EnvOptions, env_id)
    world = open_world(DATASETS[env_id], options.get("source"), options.get("split", "sample"), options.get("limit"))
    corpus, actor = options.get("corpus"), options.get("tool_actor")
    if corpus is not None:
        if actor is not None:
            raise ValueError("corpus= is for the default ToolActor: give either corpus= or tool_actor=, not both.")
        actor = GroundedToolActor(Corpus.of(corpus))
    elif actor is None:
        if not world.question(world.ids[0]).paragraphs:
            raise DatasetError(
                f"The questions of {world.info.source} ({env_id}) have no paragraphs, so the grounded ToolActor has "
                'nothing to answer from. Give corpus="FILE", a JSONL file of {"title": ..., "text": ...} lines '
                "(searched with bm25s: pip install 'mtr-env[data]'), or a tool_actor=; split=\"sample\" has paragraphs."
            )
        actor = GroundedToolActor()
    return _game(env_id, world, actor, options.get("tool_maker") or TemplateToolMaker(), options)


def make_synthetic_game(**options: Unpack[SyntheticOptions]) -> Game:
    """What the episodes of ``MTR-Synthetic-v0`` share."""
    _refuse_unknown(options, SyntheticOptions, SYNTHETIC)
    for name in ("source", "corpus"):
        if options.get(name) is not None:
            raise ValueError(f"{SYNTHETIC} is generated, so it takes no {name}= (it has split=, hops=, distractors=).")
    maker = options.get("tool_maker")
    if maker is not None and "extra_tools" in options:
        raise ValueError(
            "extra_tools= is for the default ToolMaker: give either extra_tools= or tool_maker=, not both."
        )
    world = SyntheticWorld(
        split=options.get("split", "sample"),
        hops=options.get("hops", (2, 3, 4)),
        distractors=options.get("distractors", 6),
        families=options.get("families"),
        size=1000 if (limit := options.get("limit")) is None else limit,
        seed=options.get("world_seed", 0),
    )
    actor = options.get("tool_actor") or GroundedToolActor()
    noise = Noise.of(options.get("noise"))
    if not noise.is_none:
        actor = NoisyToolActor(actor, noise)
    return _game(SYNTHETIC, world, actor, maker or TemplateToolMaker(options.get("extra_tools", 3)), options)


def make_any_game(env_id: str, **options: Unpack[SyntheticOptions]) -> Game:
    """What the episodes of one of the five ids share. Raises ``ValueError`` for an unknown id."""
    if env_id == SYNTHETIC:
        return make_synthetic_game(**options)
    if env_id not in DATASETS:
        near = difflib.get_close_matches(env_id, ENV_IDS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Unknown id {env_id!r}; expected one of {', '.join(map(repr, ENV_IDS))}.{hint}")
    return make_game(env_id, **options)  # type: ignore[misc]  # an option of the synthetic world is refused by name


def _refuse_unknown(options: Mapping[str, object], known: type, env_id: str) -> None:
    names = [*known.__annotations__]
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            if name in SyntheticOptions.__annotations__:
                hint = f" ({name}= is for {SYNTHETIC}.)"
            raise TypeError(f"{env_id} has no argument {name!r}; it takes {', '.join(names)}.{hint}")


def make_env(env_id: str, *, render_mode: str | None = None, **options: Unpack[EnvOptions]) -> MTREnv:
    """``gym.make`` of a data set id; the arguments are those of :class:`EnvOptions`."""
    return MTREnv(make_game(env_id, **options), render_mode)


def make_vector_env(
    env_id: str,
    *,
    num_envs: int = 1,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    **options: Unpack[EnvOptions],
) -> MTRVectorEnv:
    """``gym.make_vec`` of a data set id; the arguments are those of :class:`EnvOptions`."""
    return MTRVectorEnv(make_game(env_id, **options), num_envs, autoreset_mode)


def make_synthetic_env(*, render_mode: str | None = None, **options: Unpack[SyntheticOptions]) -> MTREnv:
    """``gym.make("MTR-Synthetic-v0")``; the arguments are those of :class:`SyntheticOptions`."""
    return MTREnv(make_synthetic_game(**options), render_mode)


def make_synthetic_vector_env(
    *,
    num_envs: int = 1,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    **options: Unpack[SyntheticOptions],
) -> MTRVectorEnv:
    """``gym.make_vec("MTR-Synthetic-v0")``; the arguments are those of :class:`SyntheticOptions`."""
    return MTRVectorEnv(make_synthetic_game(**options), num_envs, autoreset_mode)
