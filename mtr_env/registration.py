"""The five ids, and the functions behind ``gym.make`` and ``gym.make_vec``."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.errors import DatasetError
from mtr_env.frozen import FrozenToolMaker, FrozenWorld, frozen_actor
from mtr_env.grammar import Grammar
from mtr_env.reward import Part, Rubric
from mtr_env.toolactors.base import ToolActor
from mtr_env.toolactors.corpus import Corpus
from mtr_env.toolactors.grounded import GroundedToolActor
from mtr_env.toolactors.noise import Noise, NoisyToolActor
from mtr_env.toolmakers.base import ToolMaker
from mtr_env.toolmakers.template import TemplateToolMaker
from mtr_env.vector import MTRVectorEnv
from mtr_env.world_files import WorldFolder
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
        gym.register(
            env_id,
            entry_point="mtr_env.registration:make_env",
            vector_entry_point="mtr_env.registration:make_vector_env",
            kwargs={"env_id": env_id},
            # The environment checks the order of calls itself, and Gymnasium's wrapper would hide snapshot();
            # check_env runs in the tests, where it costs nobody anything.
            order_enforce=False,
            disable_env_checker=True,
        )


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """What every id takes. ``gym.make(id, ...)`` has these as keyword arguments, and ``render_mode``."""

    source: Path | None = None
    """A local file or folder in an upstream layout (not for the synthetic world)."""
    split: str = "sample"
    """``"sample"``, ``"train"`` or ``"validation"``; the synthetic world also has ``"test"``."""
    world: Path | None = None
    """A folder of ``mtr-env world build``: its questions and tools, in place of the options that choose them."""
    corpus: Path | Corpus | None = None
    """A JSONL file of titles and texts to search instead of the question's own paragraphs."""
    tool_maker: ToolMaker | None = None
    """Writes the tools; ``TemplateToolMaker()`` unless told."""
    tool_actor: ToolActor | None = None
    """Simulates the tools; ``GroundedToolActor()`` unless told."""
    rubric: str | Rubric | Part | None = None
    """The reward; ``"mtr-v0"`` unless told. A function of the trace is the whole reward."""
    grammar: str | Grammar | None = None
    """``"hermes"`` unless told, ``"react"``, or either with ``-compact``: how calls and tools are written."""
    max_steps: int = 8
    """After so many steps without an answer the episode is truncated."""
    limit: int | None = None
    """The first so many questions only."""


@dataclass(frozen=True, kw_only=True)
class SyntheticOptions(EnvOptions):
    """What ``MTR-Synthetic-v0`` takes beside :class:`EnvOptions`. ``limit`` may be any number (1,000 unless told)."""

    hops: int | Sequence[int] = (2, 3, 4)
    """How many reasoning steps a question needs: a number from 2 to 4, or several."""
    distractors: int = 6
    """How many paragraphs a question has beside the gold ones."""
    extra_tools: int | None = None
    """How many distractor tools a toolset has (3 unless told)."""
    noise: float | Mapping[str, float] | Noise | None = None
    """One probability shared by all kinds, or a mapping of kinds (``tool_failure``, ``not_found``, ``partial``,
    ``contradicting``); none unless told."""
    families: Sequence[str] | None = None
    """Some of the question families only."""
    world_seed: int = 0
    """Another number, another world."""


def make_game(env_id: str, **options: Any) -> Game:
    """What the episodes of an id share: its world, its plugs and its rules. ``options`` are the fields of
    :class:`EnvOptions`, for the synthetic world of :class:`SyntheticOptions`.

    Raises ``ValueError`` for an unknown id, ``TypeError`` for an unknown option or something else than a plug, and
    :class:`~mtr_env.errors.DatasetError` for a file or split that cannot be used.
    """
    if env_id in ENV_IDS and options.get("world") is not None:
        return _frozen_game(env_id, options)
    if env_id == SYNTHETIC:
        return _synthetic_game(_read(SyntheticOptions, env_id, options))
    if env_id in DATASETS:
        return _dataset_game(env_id, _read(EnvOptions, env_id, options))
    raise ValueError(f"Unknown id {env_id!r}; expected one of {', '.join(map(repr, ENV_IDS))}.{_near(env_id, ENV_IDS)}")


Options = TypeVar("Options", bound=EnvOptions)


def _read(kind: type[Options], env_id: str, options: Mapping[str, Any]) -> Options:
    known = [field.name for field in fields(kind)]
    for name in options:
        if name not in known:
            hint = _near(name, known)
            if name in [field.name for field in fields(SyntheticOptions)]:
                hint = f" ({name}= is for {SYNTHETIC}.)"
            raise TypeError(f"{env_id} has no argument {name!r}; it takes {', '.join(known)}.{hint}")
    return kind(**options)


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


_IN_A_WORLD = (
    "source",
    "split",
    "corpus",
    "tool_maker",
    "hops",
    "distractors",
    "extra_tools",
    "families",
    "world_seed",
)


def _frozen_game(env_id: str, given: Mapping[str, Any]) -> Game:
    options = _read(SyntheticOptions if env_id == SYNTHETIC else EnvOptions, env_id, given)
    for name in _IN_A_WORLD:
        if given.get(name) is not None:
            raise ValueError(f"world= holds the questions and their tools: give either world= or {name}=, not both.")
    assert options.world is not None
    folder = WorldFolder(options.world)
    if folder.manifest.env_id != env_id:
        raise DatasetError(f"{folder.path} is a world of {folder.manifest.env_id}, not of {env_id}.")
    actor = options.tool_actor or frozen_actor(folder)
    maker = FrozenToolMaker(folder, grounded=options.tool_actor is None and not folder.manifest.recorded)
    if isinstance(options, SyntheticOptions):
        actor = _noisy(actor, options)
    return _game(env_id, FrozenWorld(folder, options.limit), actor, maker, options)


def _noisy(actor: ToolActor, options: SyntheticOptions) -> ToolActor:
    noise = Noise.of(options.noise)
    return actor if noise.is_none else NoisyToolActor(actor, noise)


def _dataset_game(env_id: str, options: EnvOptions) -> Game:
    world = open_world(DATASETS[env_id], options.source, options.split, options.limit)
    actor = options.tool_actor
    if options.corpus is not None:
        if actor is not None:
            raise ValueError("corpus= is for the default ToolActor: give either corpus= or tool_actor=, not both.")
        actor = GroundedToolActor(Corpus.of(options.corpus))
    elif actor is None:
        if not world.question(world.ids[0]).paragraphs:
            raise DatasetError(
                f"The questions of {world.info.source} ({env_id}) have no paragraphs, so the grounded ToolActor has "
                'nothing to answer from. Give corpus="FILE", a JSONL file of {"title": ..., "text": ...} lines '
                '(searched with bm25s, of the extra data), or a tool_actor=; split="sample" has paragraphs.'
            )
        actor = GroundedToolActor()
    return _game(env_id, world, actor, options.tool_maker or TemplateToolMaker(), options)


def _synthetic_game(options: SyntheticOptions) -> Game:
    for name in ("source", "corpus"):
        if getattr(options, name) is not None:
            raise ValueError(f"{SYNTHETIC} is generated, so it takes no {name}= (it has split=, hops=, distractors=).")
    maker = options.tool_maker
    if maker is None:
        maker = TemplateToolMaker() if options.extra_tools is None else TemplateToolMaker(options.extra_tools)
    elif options.extra_tools is not None:
        raise ValueError(
            "extra_tools= is for the default ToolMaker: give either extra_tools= or tool_maker=, not both."
        )
    world = SyntheticWorld(
        split=options.split,
        hops=options.hops,
        distractors=options.distractors,
        families=options.families,
        size=1000 if options.limit is None else options.limit,
        seed=options.world_seed,
    )
    return _game(SYNTHETIC, world, _noisy(options.tool_actor or GroundedToolActor(), options), maker, options)


def _game(env_id: str, world: World, actor: ToolActor, maker: ToolMaker, options: EnvOptions) -> Game:
    _check_plug("tool_actor", actor, "respond")
    _check_plug("tool_maker", maker, "make")
    rubric, grammar = options.rubric or "mtr-v0", options.grammar or "hermes"
    return Game(world, maker, actor, rubric, grammar, options.max_steps, env_id=env_id)


def _check_plug(what: str, plug: object, method: str) -> None:
    if isinstance(plug, type):
        raise TypeError(f"{what}: expected an object, found the class {plug.__name__}; give {plug.__name__}().")
    missing = [name for name in ("name", method) if not hasattr(plug, name)]
    if missing:
        raise TypeError(
            f"{what}: expected an object with the text `name` (it stands in every trace) and the method `{method}`, "
            f"found {type(plug).__name__} without {' and '.join(missing)}."
        )


def make_env(env_id: str, *, render_mode: str | None = None, **options: Any) -> MTREnv:
    """``gym.make``: the arguments are those of :func:`make_game`."""
    return MTREnv(make_game(env_id, **options), render_mode)


def make_vector_env(
    env_id: str,
    *,
    num_envs: int = 1,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    **options: Any,
) -> MTRVectorEnv:
    """``gym.make_vec``: the arguments are those of :func:`make_game`."""
    return MTRVectorEnv(make_game(env_id, **options), num_envs, autoreset_mode)
