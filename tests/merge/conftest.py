"""Files of single tasks, exported once."""

from pathlib import Path

import pytest

from tests.support.single_tasks import HALVES, IMAGENET, Net, Trunk, adapted, export, fine_tuned


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with semseg, depth (one trunk), normals (fine-tuned), edges (LoRA), raw_a, raw_b, raw_c, other."""
    folder, trunk = tmp_path_factory.mktemp("single"), Trunk(0)
    nets = {
        "semseg": Net(trunk, 5),
        "depth": Net(trunk, 1),
        "normals": Net(fine_tuned(trunk), 3),
        "edges": Net(adapted(trunk), 1),
        "raw_a": Net(trunk, 4, IMAGENET),
        "raw_b": Net(trunk, 2, IMAGENET),
        "raw_c": Net(trunk, 2, HALVES),
        "other": Net(Trunk(1), 9),
    }
    for name, net in nets.items():
        export(net, folder / f"{name}.onnx")
    export(Net(trunk, 6), folder / "any_batch.onnx", is_open=True)
    return folder
