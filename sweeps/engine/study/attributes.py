"""Names of the Optuna user attributes of the study and of its trials."""

from __future__ import annotations

# Attributes of a trial. HOLDER: its holder, as "session/holder". FAULTS: how often its process died while it trained
# alone. LOSSES: how often its node was lost. REASON: why it ended. SECONDS: training time. VERDICTS: by step, whether
# the pruner stopped it. DEATH: the last `Death`. TEST: scores on the test split.
HOLDER, FAULTS, LOSSES, REASON, SECONDS, VERDICTS = "holder", "faults", "losses", "reason", "seconds", "verdicts"
DEATH, TEST = "death", "test"
# Attributes of the study. NARROWED: cohorts that got fewer lanes after they ran out of memory. SUSPECTS: the trials
# suspected at the last death, by number of lanes.
NARROWED, SUSPECTS = "narrowed", "suspects"
