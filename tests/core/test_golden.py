"""The losses of short trainings are those that are kept: an update computes today what it computed before.

The textbook loop says that an update is right; this says that it, its draws and its order are unchanged. After a change
that is meant to change them, `.venv/bin/python -m tests.golden.curves` writes the files anew, and the difference goes
into the review.
"""

from __future__ import annotations

import pytest

from tests.golden import curves
from wgan_core.rules.losses import LOSSES
from wgan_core.rules.optim import OPTIMISERS

# In float64 another order of summation, other vector instructions or another mathematical library round by 1e-16, of
# which 50 updates make 2e-14 (plain SSE against AVX-512; torch 2.11.0 against 2.13.0: nothing), and the files' twelve
# digits are worth 5e-12. So 1e-9 is room enough, and a millionth of a learning rate still shows.
RELATIVE = 1e-9
# Estimates and losses cross zero; they are of the order of 0.1 to 10.
ABSOLUTE = 1e-10


@pytest.mark.parametrize("name", curves.CASES)
def test_a_training_gives_the_curves_that_are_kept(name: str) -> None:
    kept, found = curves.read(name), curves.run(curves.CASES[name])
    assert found.keys() == kept.keys()
    for quantity, values in kept.items():
        assert found[quantity] == pytest.approx(values, rel=RELATIVE, abs=ABSOLUTE), quantity


def test_every_loss_and_optimiser_has_curves_and_no_file_is_left_over() -> None:
    assert {case.loss for case in curves.CASES.values()} == LOSSES.keys()
    assert {case.optimiser for case in curves.CASES.values()} == OPTIMISERS.keys()
    assert {path.stem for path in curves.FOLDER.glob("*.json")} == curves.CASES.keys()


@pytest.mark.parametrize("name", curves.CASES)
def test_the_curves_tell_what_a_game_reports_at_every_update(name: str) -> None:
    case, kept = curves.CASES[name], curves.read(name)
    wanted = {"critic_loss", "wasserstein_estimate"}
    if LOSSES[case.loss].penalty is not None:
        wanted |= {"gradient_norm", "gradient_penalty"}
    assert kept.keys() == wanted | {"generator_loss", "samples"}
    for quantity in wanted:
        assert len(set(kept[quantity])) == curves.UPDATES, quantity
    assert len(kept["generator_loss"]) == curves.UPDATES // case.hyper.n_critic
