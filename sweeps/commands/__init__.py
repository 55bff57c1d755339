"""The commands of `sweeps`, a module each: HELP, add_options and run; `sweeps.cli` puts them together."""
