"""The interpreters of the peers that cannot share ours: a virtual environment each, made when first used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = Path("out/peers")
PACKAGES: Mapping[str, Sequence[Sequence[str]]] = {
    # The release of the extra `bench`.
    "openvino": (("openvino==2026.4.1",),),
    # File formats and Python interfaces change between releases.
    "mnn": (("MNN==3.6.1",),),
    # pnnx is a program that runs without its requirements: torch, with gigabytes of GPU libraries.
    "ncnn": (("ncnn==1.0.20261020",), ("--no-deps", "pnnx==20261020")),
    # The release that was built for our torch.
    "executorch": (("torch==2.13.0",), ("torch==2.13.0", "executorch==1.4.1")),
}
"""The arguments of each call of pip, by peer."""


def interpreter(backend: str) -> Path:
    """The Python that runs a backend: ours for those whose peer is not in `PACKAGES`."""
    peer, _, _ = backend.partition("-")
    if peer not in PACKAGES:
        return Path(sys.executable)
    folder = FOLDER / peer
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for packages in PACKAGES[peer]:
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *packages], check=True)
        done.write_text(repr(PACKAGES[peer]))
    return python.absolute()
