"""What the study keeps beside parameters and values, by name."""

from __future__ import annotations

# Of a trial: by whom it is held, as session/holder; how often its process died, and its node was lost; why it stands as
# it does; its seconds of training; by step, whether it was to be stopped there; its last death; its test scores.
HOLDER, FAULTS, LOSSES, REASON, SECONDS, VERDICTS = "holder", "faults", "losses", "reason", "seconds", "verdicts"
DEATH, TEST = "death", "test"
# Of the study itself: which cohorts had fewer lanes after they ran out of memory, and who was suspected last, by width.
NARROWED, SUSPECTS = "narrowed", "suspects"
