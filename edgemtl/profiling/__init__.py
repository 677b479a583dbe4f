"""Profiling: a bundle on real images, in simulation or on a CPU, to the data of a report."""

from edgemtl.profiling.profile import ProfileOptions, profile_bundle

__all__ = ["ProfileOptions", "profile_bundle"]
