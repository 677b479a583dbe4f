"""The forms that peers run compute what our export does, by onnxruntime; `make bench` compares the peers."""

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.cpu_peers import Result, Timing
from benchmarks.environments import PACKAGES, interpreter
from benchmarks.peer_forms import for_mnn, for_ncnn
from benchmarks.torch_network import SEED, TASK, read_network, read_shape
from edgemtl.exporters.models import preset
from edgemtl.exporters.to_onnx import export_onnx
from examples.foreign import as_dense, as_nonzero
from examples.random_models import build


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small M3ViT with a head: two blocks, the second of experts."""
    config = replace(preset("m3vit_tiny_cityscapes", image=(32, 64)), depth=2, moe_blocks=(1,), experts=4)
    path = tmp_path_factory.mktemp("peers") / "model.onnx"
    export_onnx(build(config, SEED), path, tasks=[TASK])
    return path


@pytest.mark.parametrize("form", ["mnn dense", "mnn nonzero", "ncnn dense"])
def test_form_of_a_peer_computes_the_same(source: Path, form: str, tmp_path: Path) -> None:
    dense = as_dense(source, tmp_path)
    target = tmp_path / "form.onnx"
    written = {
        "mnn dense": lambda: for_mnn(dense, target),
        "mnn nonzero": lambda: for_mnn(as_nonzero(source, tmp_path), target),
        "ncnn dense": lambda: for_ncnn(source, target),
    }[form]()
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 64), np.float32)
    exact, output = (_run(path, image) for path in (dense, written))
    np.testing.assert_allclose(output, exact, atol=1e-5 * np.abs(exact).max())
    nodes = onnx.load(written).graph.node
    assert "Gelu" not in {node.op_type for node in nodes}
    if form == "ncnn dense":
        assert not {"TopK", "ScatterElements"} & {node.op_type for node in nodes}


def _run(path: Path, image: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"image": image})
    return np.asarray(output)


def test_torch_network_is_read_from_its_description(tmp_path: Path) -> None:
    description = tmp_path / "torch.json"
    description.write_text(json.dumps({"preset": "m3vit_tiny_cityscapes", "image": [32, 64], "part": "encoder"}))
    model, _ = read_network(description)
    assert read_shape(description) == (1, 3, 32, 64)
    assert model.config.tokens == 2 * 4 + 1


def test_environments_have_the_releases_of_the_extras() -> None:
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert [*PACKAGES["openvino"][0]] == extras["bench"]
    assert PACKAGES["executorch"][0][0] in extras["export"]
    assert interpreter("onnxruntime") == Path(sys.executable)


def test_wrong_peer_has_no_time_and_is_no_rival() -> None:
    timings = (Timing("edgemtl", 2.0, 1.0, 3.0, 0.0, False), Timing("a", 1.0, 1.0, 1.0, 4.2, True))
    result = Result("row", 1, None, (*timings, Timing("b", 5.0, 4.0, 6.0, 1e-6, False)))
    assert [timing.cell for timing in result.timings] == ["2.00 (1.00-3.00)", "wrong: off by 4.2", "5.00 (4.00-6.00)"]
    assert result.ratio == 2.5
