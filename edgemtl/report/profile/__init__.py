"""What `edgemtl profile` reports: a profile as data, its builders, and the files made of it."""

from edgemtl.report.profile.build import FrameTimings, switch_cost, task_profile
from edgemtl.report.profile.cpu import cpu_task_profile
from edgemtl.report.profile.document import profile_to_json
from edgemtl.report.profile.energy import coefficients
from edgemtl.report.profile.facts import RouterFacts, SegmentFacts, WordFacts
from edgemtl.report.profile.filling import facts_of_bundle, routers_of, words_of
from edgemtl.report.profile.model import SCHEMA_VERSION, CpuTarget, CpuTaskProfile, Profile, Switches, TaskProfile
from edgemtl.report.profile.parts import Coefficient, EnergyPart
from edgemtl.report.profile.write import write_profile

__all__ = [
    "SCHEMA_VERSION",
    "Coefficient",
    "CpuTarget",
    "CpuTaskProfile",
    "EnergyPart",
    "FrameTimings",
    "Profile",
    "RouterFacts",
    "SegmentFacts",
    "Switches",
    "TaskProfile",
    "WordFacts",
    "coefficients",
    "cpu_task_profile",
    "facts_of_bundle",
    "profile_to_json",
    "routers_of",
    "switch_cost",
    "task_profile",
    "words_of",
    "write_profile",
]
