"""Per-lane values of a cohort: each trial's seed, count of updates and hyper-parameters, on the training device.

K lanes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan_core.config import PARAMETERS, Trial
from wgan_core.rules.optim import Rates

# `n_critic` of a vacant lane, so that its generator update is never due.
NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Lanes:
    """Values of K lanes, (K,) each. Seeds, counts and n_critic are int64, all others float64.

    Each hyper-parameter is also an attribute.

    Attributes:
        seeds: Seed of each lane's trial.
        critic_updates: Number of critic updates that each lane has made.
        hyper: Values of each field of `Hyper`, by name.
    """

    seeds: Tensor
    critic_updates: Tensor
    hyper: Mapping[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        hyper: Mapping[str, Tensor] = self.__dict__.get("hyper", {})
        if name not in hyper:
            raise AttributeError(f"lanes have no {name!r}")
        return hyper[name]

    @classmethod
    def vacant(cls, width: int, device: torch.device) -> Lanes:
        """Return lanes without a trial."""
        seeds, counts = (torch.zeros(width, dtype=torch.int64, device=device) for _ in range(2))
        hyper = {name: torch.zeros(width, dtype=torch.float64, device=device) for name in PARAMETERS}
        never = torch.full((width,), NEVER, dtype=torch.int64, device=device)
        return cls(seeds, counts, {**hyper, "n_critic": never})

    @classmethod
    def of(cls, trials: Sequence[Trial], critic_updates: Sequence[int], device: torch.device) -> Lanes:
        """Return one lane for each trial, at its count of critic updates."""
        lanes = cls.vacant(len(trials), device)
        for index, (trial, count) in enumerate(zip(trials, critic_updates, strict=True)):
            lanes.put(index, trial, count)
        return lanes

    def put(self, index: int, trial: Trial, critic_updates: int) -> None:
        """Give a lane to a trial that has made `critic_updates` updates."""
        self.seeds[index], self.critic_updates[index] = trial.seed, critic_updates
        for name, values in self.hyper.items():
            values[index] = getattr(trial.hyper, name)

    def vacate(self, index: int) -> None:
        """Take the trial off a lane."""
        self.n_critic[index] = NEVER

    def due(self) -> Tensor:
        """Return whether a generator update follows each lane's current critic update, (K,) bool."""
        return (self.critic_updates + 1) % self.n_critic == 0

    def generator_updates(self) -> Tensor:
        """Return the number of generator updates that each lane has made, (K,)."""
        return self.critic_updates // self.n_critic

    def critic_rates(self) -> Rates:
        """Return the rates of the current critic update."""
        everyone = torch.ones_like(self.critic_updates, dtype=torch.bool)
        lr = self._decayed(self.lr_critic, self.critic_updates)
        return self._rates(self.critic_updates, lr, everyone)

    def generator_rates(self) -> Rates:
        """Return the rates of the current generator update, for the lanes where one is due."""
        count = self.generator_updates()
        lr = self._decayed(self.lr_generator, count * self.n_critic)
        return self._rates(count, lr, self.due())

    def _rates(self, count: Tensor, lr: Tensor, due: Tensor) -> Rates:
        others = {name: self.hyper[name] for name in Rates.__dataclass_fields__ if name in self.hyper}
        return Rates(step=count.double() + 1, lr=lr, due=due, **others)

    def count_(self) -> None:
        """Count one more critic update in every lane, in place."""
        self.critic_updates.add_(1)

    def _decayed(self, base: Tensor, critic_updates: Tensor) -> Tensor:
        """Return the rates after `critic_updates` updates: falling linearly to zero, or constant without a decay."""
        left = (1 - critic_updates / self.decay_updates).clamp(min=0)
        return torch.where(self.decay_updates > 0, base * left, base)
