"""Puts the files of a report into a folder: all of them or none."""

from __future__ import annotations

import json
from pathlib import Path

from edgemtl.paths import folder_aside, output_folder, put_in_place
from edgemtl.report.profile.document import profile_to_json
from edgemtl.report.profile.html import render_profile
from edgemtl.report.profile.model import Profile
from edgemtl.report.profile.tables import layers_csv
from edgemtl.report.profile.trace import trace_json


def write_profile(profile: Profile, folder: Path) -> tuple[Path, ...]:
    """Write report.html, report.json, layers.csv and trace.json into ``folder``, which is made where it is not there.

    Returns their paths. Raises OutputError where that fails; what was there before is left as it was.
    """
    texts = {
        "report.html": render_profile(profile),
        "report.json": _dump(profile_to_json(profile)),
        "layers.csv": layers_csv(profile),
        "trace.json": _dump(trace_json(profile)),
    }
    with output_folder(folder), folder_aside(folder, folder) as aside:
        for name, text in texts.items():
            (aside / name).write_text(text, encoding="utf-8")
        put_in_place(aside, folder, tuple(texts))
    return tuple(folder / name for name in texts)


def _dump(document: object) -> str:
    return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"
