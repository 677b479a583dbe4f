"""``python -m edgemtl`` is the command line."""

from edgemtl.cli.app import run

run()
