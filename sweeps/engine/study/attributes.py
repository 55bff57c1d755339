"""Names of the Optuna user attributes of the study and of its trials."""

from __future__ import annotations

# Attributes of a trial. HOLDER: its holder, as "session/holder". DEATH: the last `Death` of its process. REASON: why it
# ended. SECONDS: training time. VERDICTS: by step, whether the pruner stopped it. TEST: scores on the test split.
# BESIDE: the step of the best report, and scores that are shown beside its value.
HOLDER, DEATH, REASON, SECONDS, VERDICTS, TEST = "holder", "death", "reason", "seconds", "verdicts", "test"
BESIDE = "beside"
# First word of the reason of a trial that failed because it copies its training data.
COPIES = "copies"
# First words of the reason of a trial that failed because its process had too little memory.
NO_MEMORY = "does not fit in memory"
# Short names of the scores that are shown beside that of the objective: its standard error, and metrics.
SHOWN = ("error", "precision", "recall", "coverage", "spread", "copied")


def copied(state: str, reason: str) -> bool:
    """Return whether a trial ended because it copies its training data. Its scores then count for nothing."""
    return state == "FAIL" and reason.startswith(COPIES)


# Attribute of the study: the cohorts that got fewer lanes after they ran out of memory.
NARROWED = "narrowed"
