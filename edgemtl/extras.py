"""The packages of each extra of the installation, and what is said where one is missing."""

from __future__ import annotations

import importlib.util

from edgemtl.errors import UnsupportedError

BASE = {"numpy": "numpy", "pillow": "PIL", "apache-tvm-ffi": "tvm_ffi", "typer": "typer", "rich": "rich"}
"""What every installation has: distribution to module."""

EXTRAS = {
    "compile": {
        "apache-tvm": "tvm",
        "onnx": "onnx",
        "onnx-ir": "onnx_ir",
        "onnxscript": "onnxscript",
        "onnxruntime": "onnxruntime",
        "ortools": "ortools",
    },
    "export": {
        "torch": "torch",
        "safetensors": "safetensors",
        "onnxscript": "onnxscript",
        "onnxruntime": "onnxruntime",
        "pyyaml": "yaml",
    },
    "report": {"plotly": "plotly", "jinja2": "jinja2"},
    "sign": {"cryptography": "cryptography"},
}
"""By extra, distribution to module. The first of an extra says whether a machine is meant to have it."""


def install_hint(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'edgemtl[{extra}]'"


def missing_modules(extra: str) -> list[str]:
    """The modules of an extra that cannot be imported; none is imported to find out."""
    return [module for module in EXTRAS[extra].values() if importlib.util.find_spec(module) is None]


def check_extra(extra: str, request: str) -> None:
    """Raise UnsupportedError where ``request``, a verb or an option, needs packages that are not installed."""
    if missing := missing_modules(extra):
        reason = f"it needs {', '.join(missing)}, and {'this is' if len(missing) == 1 else 'these are'} not installed"
        raise UnsupportedError(request, reason, install_hint(extra))
