"""Searches over the hyper-parameters of Wasserstein GANs.

A sweep script needs only this package and `wgan_core`. The names in `__all__` are the stable public interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wgan_core.public import at_first_use

if TYPE_CHECKING:
    from sweeps.engine.driver.script import run_script as run_script
    from sweeps.engine.driver.script import run_sweep as run_sweep
    from sweeps.engine.plan.arguments import names as names
    from sweeps.engine.plan.options import parse as parse
    from sweeps.engine.plan.passes import Passes as Passes
    from sweeps.engine.plan.presets import CLIPPED as CLIPPED
    from sweeps.engine.plan.presets import CONDITIONAL as CONDITIONAL
    from sweeps.engine.plan.presets import GAUSSIANS as GAUSSIANS
    from sweeps.engine.plan.presets import MNIST as MNIST
    from sweeps.engine.plan.presets import TWO_RATES as TWO_RATES
    from sweeps.engine.plan.presets import WGAN_GP as WGAN_GP
    from sweeps.engine.plan.presets import Preset as Preset
    from sweeps.engine.plan.presets_sequences import SEQUENCES as SEQUENCES
    from sweeps.engine.plan.presets_tabular import TABULAR as TABULAR
    from sweeps.engine.plan.space import Range as Range
    from sweeps.engine.plan.space import Space as Space
    from sweeps.engine.plan.table_options import add_table_options as add_table_options
    from sweeps.engine.plan.table_options import table_options as table_options
    from sweeps.notebook import Sweep as Sweep

# The module that defines each public name. A name is imported at its first use, so importing the package stays fast.
_MODULES = {
    "CLIPPED": "sweeps.engine.plan.presets",
    "CONDITIONAL": "sweeps.engine.plan.presets",
    "GAUSSIANS": "sweeps.engine.plan.presets",
    "MNIST": "sweeps.engine.plan.presets",
    "Passes": "sweeps.engine.plan.passes",
    "Preset": "sweeps.engine.plan.presets",
    "Range": "sweeps.engine.plan.space",
    "SEQUENCES": "sweeps.engine.plan.presets_sequences",
    "Space": "sweeps.engine.plan.space",
    "Sweep": "sweeps.notebook",
    "TABULAR": "sweeps.engine.plan.presets_tabular",
    "TWO_RATES": "sweeps.engine.plan.presets",
    "WGAN_GP": "sweeps.engine.plan.presets",
    "add_table_options": "sweeps.engine.plan.table_options",
    "names": "sweeps.engine.plan.arguments",
    "parse": "sweeps.engine.plan.options",
    "run_script": "sweeps.engine.driver.script",
    "run_sweep": "sweeps.engine.driver.script",
    "table_options": "sweeps.engine.plan.table_options",
}

__all__ = [*_MODULES]
__getattr__ = at_first_use(__name__, _MODULES)
