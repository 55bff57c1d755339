"""What differs between the trials on the lanes of a cohort: a value a lane, on the device that trains.

K lanes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from wgan_core.config import Hyper, Trial
from wgan_core.rules.optim import Rates

# Of a vacant lane, whose generator is never due.
NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Lanes:
    """(K,) each: seeds, counts and n_critic whole numbers (int64), all others in double precision.

    critic_updates: how many a lane has behind it. The hyper-parameters are those of `Hyper`.
    """

    seeds: Tensor
    critic_updates: Tensor
    lambda_gp: Tensor
    lr_critic: Tensor
    lr_generator: Tensor
    n_critic: Tensor
    beta1: Tensor
    beta2: Tensor
    clip: Tensor
    decay_updates: Tensor

    @classmethod
    def vacant(cls, width: int, device: torch.device) -> Lanes:
        """Lanes without a trial."""
        whole = {name: torch.zeros(width, dtype=torch.int64, device=device) for name in ("seeds", "critic_updates")}
        values = {each.name: torch.zeros(width, dtype=torch.float64, device=device) for each in fields(Hyper)}
        never = torch.full((width,), NEVER, dtype=torch.int64, device=device)
        return cls(**whole, **{**values, "n_critic": never})

    @classmethod
    def of(cls, trials: Sequence[Trial], critic_updates: Sequence[int], device: torch.device) -> Lanes:
        """A lane for each of these trials, at its count of critic updates."""
        lanes = cls.vacant(len(trials), device)
        for index, (trial, count) in enumerate(zip(trials, critic_updates, strict=True)):
            lanes.put(index, trial, count)
        return lanes

    def put(self, index: int, trial: Trial, critic_updates: int) -> None:
        """Give a lane to a trial that has so many critic updates behind it."""
        self.seeds[index], self.critic_updates[index] = trial.seed, critic_updates
        for each in fields(Hyper):
            getattr(self, each.name)[index] = getattr(trial.hyper, each.name)

    def vacate(self, index: int) -> None:
        """Take its trial off a lane."""
        self.n_critic[index] = NEVER

    def due(self) -> Tensor:
        """Whether a generator update follows the critic update that is made now, bool."""
        return (self.critic_updates + 1) % self.n_critic == 0

    def generator_updates(self) -> Tensor:
        """How many a lane has behind it."""
        return self.critic_updates // self.n_critic

    def critic_rates(self) -> Rates:
        """Of the critic update that is made now."""
        everyone = torch.ones_like(self.critic_updates, dtype=torch.bool)
        lr = self._decayed(self.lr_critic, self.critic_updates)
        return Rates(self.critic_updates.double() + 1, lr, self.beta1, self.beta2, everyone)

    def generator_rates(self) -> Rates:
        """Of the generator update that is made now, where one is due."""
        count = self.generator_updates()
        lr = self._decayed(self.lr_generator, count * self.n_critic)
        return Rates(count.double() + 1, lr, self.beta1, self.beta2, self.due())

    def count_(self) -> None:
        """A critic update is made, with what followed it."""
        self.critic_updates.add_(1)

    def _decayed(self, base: Tensor, critic_updates: Tensor) -> Tensor:
        """The rates `base` after so many critic updates: they fall along a line to zero; without a decay they stay."""
        left = (1 - critic_updates / self.decay_updates).clamp(min=0)
        return torch.where(self.decay_updates > 0, base * left, base)
