"""edgemtl: compile multi-task mixture-of-experts vision transformers for CPUs and small FPGAs."""

__version__ = "0.1.0"
