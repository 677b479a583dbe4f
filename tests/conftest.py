"""The processor a run takes for its own, the count of targets it skips, and how many random cases the tests draw."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import processors

# 20 as a rule, 200 with --hypothesis-profile=full.
settings.register_profile("short", max_examples=20, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=200, deadline=None)
settings.load_profile("short")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "take this processor for the machine's, to run the paths of a narrower one (default: the machine's own)"
    parser.addoption("--release-to", type=Path, metavar="FOLDER", help="where tests/release leaves what it builds")
    parser.addoption("--cpu", choices=processors.NAMES, help=text)


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts a job behind itself deaf to Ctrl-C, and tests send it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if name := config.getoption("cpu"):
        processors.stand_for(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    terminalreporter.section("targets")
    for line in processors.summary(reasons):
        terminalreporter.write_line(line)
