"""What `edgemtl profile` reports: a profile as data, its builders, and the files made of it."""

from edgemtl.report.profile.build import FrameTimings, switch_cost, task_profile
from edgemtl.report.profile.cpu import cpu_task_profile
from edgemtl.report.profile.document import profile_to_json
from edgemtl.report.profile.energy import coefficients
from edgemtl.report.profile.facts import InstructionFacts, RouterFacts, SegmentFacts
from edgemtl.report.profile.filling import facts_of_bundle, instructions_of, routers_of
from edgemtl.report.profile.frame import FrameStep, FrameTime, frame_time
from edgemtl.report.profile.model import SCHEMA_VERSION, CpuTaskProfile, MeasuredCpu, Profile, Switches, TaskProfile
from edgemtl.report.profile.parts import Coefficient, EnergyPart
from edgemtl.report.profile.write import write_profile

__all__ = [
    "SCHEMA_VERSION",
    "Coefficient",
    "CpuTaskProfile",
    "EnergyPart",
    "FrameStep",
    "FrameTime",
    "FrameTimings",
    "InstructionFacts",
    "MeasuredCpu",
    "Profile",
    "RouterFacts",
    "SegmentFacts",
    "Switches",
    "TaskProfile",
    "coefficients",
    "cpu_task_profile",
    "facts_of_bundle",
    "frame_time",
    "instructions_of",
    "profile_to_json",
    "routers_of",
    "switch_cost",
    "task_profile",
    "write_profile",
]
