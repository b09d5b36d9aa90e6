"""Command lines of the training programs: a dataclass of options, a recipe's values, overrides."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import tomllib
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from mtr_env.episode import Game
from mtr_env.errors import MTRError
from mtr_env.extras import install
from mtr_env.plugs import ToolOptions, Tools, option
from mtr_env.registration import SYNTHETIC

OF_A_WORLD = {
    "world": ("split", "source", "families", "world_seed"),
    "eval_world": ("eval_split", "eval_source"),
}
"""What a folder of `mtr-env world build` takes the place of."""
RECIPES = Path(__file__).parent / "recipes"
Options = TypeVar("Options")


def parse(
    kind: type[Options], program: str, description: str, argv: list[str] | None = None, package: str = "train"
) -> Options:
    """The options of ``package.program``: the defaults, then those of ``--recipe NAME``, then the command line.

    A recipe is ``train/recipes/NAME.toml``, or a TOML file by its path, with one table for each program. Raises
    ``SystemExit`` with a sentence for an unknown recipe, one without a table for this program, an option in it that the
    program does not have, or a value of another type. A program with a ``recipe`` among its own options reads none.
    """
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    parser = argparse.ArgumentParser(prog=f"python -m {package}.{program}", description=description)
    known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    if "recipe" not in fields:
        parser.add_argument("--recipe", help=f"take the options of a recipe first: one of {known}, or a .toml file")
    for name, field in fields.items():
        option = f"--{name.replace('_', '-')}"
        default = "" if field.default is None else f" (default: {field.default})"
        help_ = f"{field.metadata['help']}{default}".replace("%", "%%")
        if hints[name] is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=help_)
        else:
            parser.add_argument(option, type=_reader(hints[name]), default=None, help=help_)
    given = vars(parser.parse_args(argv))
    recipe = None if "recipe" in fields else given.pop("recipe")
    values = _recipe(recipe, program, fields, hints, parser) if recipe else {}
    for folder, others in OF_A_WORLD.items():
        if given.get(folder) is not None:  # on the command line: instead of the recipe's questions
            values = {name: value for name, value in values.items() if name not in others}
    values |= {name: value for name, value in given.items() if value is not None}
    return kind(**values)


def recipe_file(name: str) -> Path:
    """Where a recipe is: one of ours by its name, any other by its path."""
    return Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"


def _reader(hint: Any) -> Any:
    """What reads an option of this type from text."""
    if isinstance(hint, types.UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _recipe(
    name: str, program: str, fields: dict[str, Any], hints: dict[str, Any], parser: argparse.ArgumentParser
) -> dict[str, Any]:
    path = recipe_file(name)
    if not path.exists():
        parser.error(
            f"there is no recipe {name!r}; expected one of {', '.join(p.stem for p in RECIPES.glob('*.toml'))}"
        )
    tables = tomllib.loads(path.read_text())
    if program not in tables:
        parser.error(f"recipe {name} has no table [{program}]; it has {', '.join(f'[{table}]' for table in tables)}")
    values = {}
    for key, value in tables[program].items():
        if key not in fields:
            parser.error(
                f"recipe {name}, [{program}]: there is no option {key!r}; expected some of {', '.join(fields)}"
            )
        kind = _reader(hints[key])
        if kind is Path:
            value = Path(value)
        elif kind is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, kind):
            parser.error(f"recipe {name}, [{program}]: {key} is a {kind.__name__}, found {value!r}")
        values[key] = value
    return values


@contextmanager
def said_plainly(*kinds: type[Exception]) -> Iterator[None]:
    """An exception of these kinds, which says what is wrong with options or questions, ends the program with that."""
    try:
        yield
    except kinds as error:
        raise SystemExit(str(error)) from error


def check_extra(program: str) -> None:
    """Raises ``SystemExit`` with the fix when the packages are missing that programs with a model need."""
    missing = [name for name in ("torch", "transformers", "trl") if importlib.util.find_spec(name) is None]
    if missing:
        raise SystemExit(f"python -m train.{program} needs {', '.join(missing)}: {install('train')}.")


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclasses.dataclass
class TrainerOptions:
    """What the programs that fine-tune a model with TRL take."""

    model: str = option("train/base", "the checkpoint to start from: a folder, or a hub id")
    out: Path = option(Path("runs/trained"), "where checkpoints go")
    accumulate: int = option(1, "batches whose gradients make one step, to save memory")
    lr: float = option(1e-3, "peak learning rate")
    lora_rank: int = option(0, "train LoRA matrices of this rank; 0: all weights")
    bf16: bool = option(False, "mixed precision: compute in bfloat16, weights in float32")
    checkpointing: bool = option(False, "compute activations twice to save memory")
    seed: int = option(0, "of data, weights and sampling")

    def settings(self) -> dict[str, Any]:
        """What these are called in a configuration of TRL, and what all of ours have in common."""
        import torch

        return {
            "output_dir": str(self.out),
            "gradient_accumulation_steps": self.accumulate,
            "learning_rate": self.lr,
            "bf16": self.bf16,
            "use_cpu": not torch.cuda.is_available(),
            "activation_checkpointing": self.checkpointing,
            "seed": self.seed,
            "report_to": [],
            "disable_tqdm": True,
        }


@dataclasses.dataclass
class WorldOptions(ToolOptions):
    """Which questions are played, with which tools, and how: what every program that plays takes."""

    env_id: str = option(SYNTHETIC, "the environment")
    split: str | None = option(None, "the world's split; this, --source or --world has to be said")
    source: str | None = option(None, "a local file of questions")
    world: str | None = option(None, "a folder of `mtr-env world build`, in place of --split and --source")
    families: str | None = option(None, "the synthetic world's question families, with commas between them (all)")
    world_seed: int = option(0, "the synthetic world's seed: another one, other questions of the split")
    grammar: str = option("hermes", "how actions are written")
    max_steps: int = option(8, "steps an episode may have")

    def tools(self, *, seeded: bool = True) -> Tools:
        """The tools that are asked for (``seeded`` as :class:`~mtr_env.plugs.Tools` has it); raises ``SystemExit``
        with the fix when they cannot be made."""
        with said_plainly(ValueError, ImportError, MTRError):
            return Tools(self, seeded=seeded)

    def game(self, limit: int, tools: Tools | None = None, **options: Any) -> Game:
        """The game with its first ``limit`` questions, other options of the environment, and ``tools`` (made here
        unless given); raises ``SystemExit`` when no questions are said."""
        if self.split is None and self.source is None and self.world is None:
            raise SystemExit("Say which questions: --split NAME, --source FILE or --world DIR.")
        which = {"world": self.world, "split": self.split, "source": self.source}
        families = self.families.split(",") if self.families else None
        options |= {**which, "limit": limit, "families": families, "world_seed": self.world_seed or None}
        given = {name: value for name, value in options.items() if value is not None}
        tools = self.tools() if tools is None else tools
        with said_plainly(ValueError, TypeError, ImportError, MTRError):  # TypeError: an argument that the id lacks
            return tools.game(self.env_id, grammar=self.grammar, max_steps=self.max_steps, **given)


@dataclasses.dataclass
class HeldOutOptions:
    """Which questions a program that trains plays on the way."""

    eval_split: str | None = option(None, "the split of the held-out questions")
    eval_source: str | None = option(None, "a local file of held-out questions")
    eval_world: str | None = option(None, "a folder of `mtr-env world build` with held-out questions")

    def check_held_out(self, otherwise: str) -> None:
        """Raises ``SystemExit`` when none are said; ``otherwise`` is the option that asks for none."""
        if self.eval_split is None and self.eval_source is None and self.eval_world is None:
            raise SystemExit(
                "Say the held-out questions: --eval-split NAME, --eval-source FILE or --eval-world DIR; or "
                f"{otherwise}."
            )

    def held_out(self, like: WorldOptions) -> WorldOptions:
        """The held-out questions, played as those of ``like`` are; a frozen world has families and a seed already."""
        which = {"split": self.eval_split, "source": self.eval_source, "world": self.eval_world}
        frozen = {} if self.eval_world is None else {"families": None, "world_seed": 0}
        return dataclasses.replace(like, **which, **frozen)


@dataclasses.dataclass
class PlayOptions(WorldOptions):
    """How a model plays: what every program takes that lets one play."""

    temperature: float = option(1.0, "of sampling; 0 is greedy")
    max_turn_tokens: int = option(64, "the most tokens of an action")
    max_tokens: int = option(1024, "the most tokens of an episode")
    seed: int = option(0, "of the episodes and of sampling")

    def limits(self) -> dict[str, int]:
        """These as arguments of :class:`~mtr_env.adapters.trl.Rollouts`."""
        return {"max_turn_tokens": self.max_turn_tokens, "max_tokens": self.max_tokens, "seed": self.seed}
