"""What a person asked for: plan, search space, presets and options."""
