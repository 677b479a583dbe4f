"""What the demo says beside its figures."""

import re

from edgemtl import processor
from examples.rooms.demo import table_title
from tests.support.processors import FOLDER


def test_the_table_names_the_processor_and_its_target(monkeypatch):
    monkeypatch.setattr(processor, "CPU_INFO", FOLDER / "avx2.cpuinfo")
    first, second = table_title(200, 2).splitlines()
    assert first == "200 held-out scenes, 2 threads, all figures measured"
    assert re.fullmatch(r"a processor with AVX2 and no AVX-512 .*, target cpu-avx2", second)
