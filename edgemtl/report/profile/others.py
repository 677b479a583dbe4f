"""Published figures of the same model beside those of the profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgemtl.report.profile.blocks import PageGroup, PageSection, PageTable, columns
from edgemtl.report.profile.model import Profile
from edgemtl.report.profile.task_tables import show_energy
from edgemtl.report.published import CAVEAT, Published, fitting


def published_group(profile: Profile) -> PageGroup | None:
    """Published rows of the same model with ours among them; None where there are none."""
    rows = fitting(profile.model)
    if not rows:
        return None
    names = ("work", "device", "bits", "#MHz", "#latency, ms", "#energy, mJ", "covers", "figure")
    table = PageTable(columns(*names), (*map(_ours, _named(profile)), *map(_published, rows)))
    return PageGroup(
        "published",
        "Published figures",
        (PageSection("Others and this profile", "published", CAVEAT, tables=(table,)),),
    )


def _named(profile: Profile) -> Iterator[Mapping[str, str]]:
    spec = profile.board
    assert spec is not None
    device = spec.name + (" (hypothetical)" if spec.hypothetical else "")
    for task in profile.tasks:
        energy = show_energy(task)
        yield {
            "work": f"this profile, {task.task}",
            "device": device,
            "clock": str(spec.engine.clock_mhz),
            "latency": f"{task.latency.steady_ms:.3f}",
            "energy": f"{energy}, estimated" if energy else "",
        }


def _ours(row: Mapping[str, str]) -> tuple[str, ...]:
    covers = "all layers of the task on the accelerator"
    return (row["work"], row["device"], "INT8", row["clock"], row["latency"], row["energy"], covers, "simulated")


def _published(row: Published) -> tuple[str, ...]:
    energy = "" if row.energy_mj is None else f"{row.energy_mj:,g}" + (", from watts" if row.calculated else "")
    clock = "" if row.clock_mhz is None else str(row.clock_mhz)
    return (row.work, row.device, row.bits, clock, f"{row.latency_ms:g}", energy, row.covers, "published")
