"""Checks of `sweeps doctor`, one module for each thing that a sweep depends on."""
