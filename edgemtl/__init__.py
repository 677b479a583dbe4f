"""edgemtl: compile multi-task mixture-of-experts vision transformers for CPUs and small FPGAs."""

__version__: str

UNKNOWN_VERSION = "0+unknown"
"""The version of a source tree that was never installed."""


def __getattr__(name: str) -> str:
    """``__version__``, of the installed package's metadata; looked up when asked for, since that takes 20 ms."""
    if name != "__version__":
        raise AttributeError(f"module 'edgemtl' has no attribute {name!r}")
    from importlib import metadata

    try:
        return metadata.version("edgemtl")
    except metadata.PackageNotFoundError:
        return UNKNOWN_VERSION
