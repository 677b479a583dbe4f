"""Memory planning: how long buffers live, where they lie, in which order steps run. No compiler in here."""

from edgemtl.schedule.checker import Access, PlanError, check, check_accesses
from edgemtl.schedule.lifetimes import boundary, lifetimes
from edgemtl.schedule.model import ALIGNMENT, Buffer, Lifetime, Plan, Slot, Timeline
from edgemtl.schedule.planner import plan
from edgemtl.schedule.reorder import reorder, reorder_tasks

__all__ = [
    "ALIGNMENT",
    "Access",
    "Buffer",
    "Lifetime",
    "Plan",
    "PlanError",
    "Slot",
    "Timeline",
    "boundary",
    "check",
    "check_accesses",
    "lifetimes",
    "plan",
    "reorder",
    "reorder_tasks",
]
