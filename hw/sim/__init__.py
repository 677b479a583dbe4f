"""Simulators of the accelerator: `functional` for the bits, `cycle` for the time."""
