"""GEM: the episodes of Gymnasium under GEM's interface; actions and observations are text.

    import gem, mtr_env.adapters.gem  # registers the ids of the package

    env = gem.make("MTR-Synthetic-v0", split="train", seed=7)
    observation, info = env.reset()

Tested with gem-llm 0.1 (extra ``gem``). ``info`` is Gymnasium's; what only this form has:

- The last step's ``info["log"]`` holds reward, parts and metrics by the names that every adapter logs them under.
- GEM has no mark for an episode that cannot be scored: its reward is 0.0 and ``info["unscored"]`` says why. GEM's
  vector environments reset in the same step, so that the last step's info is lost; ``reset``'s ``info["prev_ep_log"]``
  therefore holds the log of the environment's episode before (``None`` at first).
- ``reset`` seeds no global random generator, as GEM's own environments do.
"""

from __future__ import annotations

from typing import Any

from mtr_env.env import MTREnv
from mtr_env.episode import Game
from mtr_env.extras import needed
from mtr_env.policies.random_valid import RandomValid
from mtr_env.registration import ENV_IDS, make_game
from mtr_env.reward import score
from mtr_env.reward_log import episode_log
from mtr_env.trace import Trace
from mtr_env.transcript import messages

with needed("gem", "The GEM adapter"):
    import gem
    from gem.core import Env
    from gem.envs.registration import ENV_REGISTRY


class GemEnv(Env):
    """An environment id of the package. ``options`` are those of ``gym.make(id, ...)``; ``seed`` is that of the first
    ``reset`` without one."""

    def __init__(self, id: str, *, seed: int | None = None, **options: Any) -> None:
        super().__init__()
        self._begin(id, make_game(id, **options), options, seed)

    def _begin(self, id: str, game: Game, options: dict[str, Any], seed: int | None) -> None:
        self._id = id
        self._options = options
        self._seed = seed
        self._env = MTREnv(game)
        self._log: dict[str, float | None] | None = None

    def reset(self, seed: int | None = None, *, question_id: str | None = None) -> tuple[str, dict[str, Any]]:
        """As Gymnasium's ``reset``; ``question_id`` picks the question. Raises ``UnknownQuestionError``."""
        if seed is None:
            seed, self._seed = self._seed, None
        options = None if question_id is None else {"question_id": question_id}
        observation, info = self._env.reset(seed=seed, options=options)
        info["prev_ep_log"], self._log = self._log, None
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """As Gymnasium's ``step``."""
        result = self._env.step(action)
        info = result[4]
        if "trace" in info:
            trace = info["trace"]
            self._log = info["log"] = episode_log(trace, score(trace, self._env.game.rubric), cut=False)
        return result

    def sample_random_action(self) -> str:
        """A random call that keeps its tool's schema, or at times an answer; the same at the same point of an
        episode."""
        trace = self._env.snapshot()
        stage = self._env.game.resume(trace)
        player = RandomValid(self._env.game.grammar).for_episode(trace)
        return player(messages(trace, stage.prompt), stage.tools)

    def spawn(self, same_state: bool = False, **kwargs: Any) -> GemEnv:
        """Another environment of the same id and options, but for those in ``kwargs``; ``same_state``: at the same
        point of the same episode. Without other options the two share the world and its plugs."""
        seed = kwargs.pop("seed", None)
        options = {**self._options, **kwargs}
        twin = type(self).__new__(type(self))
        twin._begin(self._id, make_game(self._id, **options) if kwargs else self._env.game, options, seed)
        if same_state:
            twin.set_state(self.get_state())
        return twin

    def get_state(self) -> dict[str, Trace]:
        """The state of the episode: its trace, which is frozen."""
        return {"trace": self._env.snapshot()}

    def set_state(self, state: dict[str, Trace]) -> None:
        """Goes on from a state of :meth:`get_state`."""
        self._env.restore(state["trace"])


for _id in ENV_IDS:
    if _id not in ENV_REGISTRY:
        gem.register(_id, "mtr_env.adapters.gem:GemEnv", id=_id)
