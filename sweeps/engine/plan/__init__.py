"""Settings of a sweep: its plan, search space, presets and command-line options."""
