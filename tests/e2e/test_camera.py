"""Camera frames: bytes in, normalised in the program, the same bits as a program of normalised images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgemtl.cli.app import main
from edgemtl.driver import compile_model
from edgemtl.errors import UsageError
from edgemtl.images import normalise
from edgemtl.options import CheckOptions, CompileOptions
from edgemtl.runtime import Session
from tests.support.models import TASKS, build_and_export, small_config
from tests.support.run import run_onnx

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SAID = {"mean": MEAN, "std": STD, "threads": 1}


def convolution(folder: Path) -> Path:
    """A convolution, a Relu and a head."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((8, 3, 3, 3)) * 0.2, "v": rng.standard_normal((5, 8, 1, 1)) * 0.3}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["semseg"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 24])
    output = helper.make_tensor_value_info("semseg", TensorProto.FLOAT, [1, 5, 16, 24])
    tensors = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in weights.items()]
    graph = helper.make_graph(nodes, "g", [image], [output], tensors)
    path = folder / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def transformer(folder: Path) -> Path:
    """Patches, whose embedding is fused with their quantisation otherwise."""
    return build_and_export(small_config(tasks=TASKS[:1]), 0, folder)[1]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of 24 x 16."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(1)
    for index in range(10):
        rows = rng.integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(rows).resize((24, 16), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize("make", [convolution, pytest.param(transformer, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_same_bits_as_normalised_images(make, precision: str, frames: Path, tmp_path: Path) -> None:
    path = make(tmp_path)
    how = {"precision": precision, "calibration": frames if precision == "int8" else None, **SAID}
    compile_model(path, CompileOptions(**how), tmp_path / "float.edgemtl")
    compile_model(path, CompileOptions(cameras=("image",), **how), tmp_path / "camera.edgemtl")
    frame = np.random.default_rng(5).integers(0, 256, (1, 16, 24, 3), np.uint8)
    with (
        Session.open(tmp_path / "float.edgemtl", threads=1) as floats,
        Session.open(tmp_path / "camera.edgemtl", threads=1) as camera,
    ):
        (entry,) = camera.inputs
        assert (entry.dtype, entry.shape, entry.mean, entry.std) == ("uint8", (1, 16, 24, 3), MEAN, STD)
        image = normalise(frame[0], MEAN, STD)
        actual = camera.run("semseg", frame)
        np.testing.assert_array_equal(actual, floats.run("semseg", image))
        if precision == "fp32":
            np.testing.assert_allclose(actual, run_onnx(path, {"image": image})["semseg"], atol=1e-4, rtol=1e-4)
        kernels = [layer.kernel for layer in camera.program.tasks["semseg"].layers]
        in_int8 = "qpixel_patches" if make is transformer else "qpixels"
        assert kernels[0].startswith("pixels" if precision == "fp32" else in_int8)
        assert not any(kernel.startswith("quantise") for kernel in kernels)
        if precision == "int8" and make is transformer:
            assert not any(kernel.startswith("qcopy") for kernel in kernels)


def test_run_feeds_the_bytes_of_a_picture(frames: Path, tmp_path: Path) -> None:
    path = convolution(tmp_path)
    compile_model(path, CompileOptions(cameras=("image",), **SAID), tmp_path / "a.edgemtl")
    words = [
        "run",
        str(tmp_path / "a.edgemtl"),
        "--input",
        str(frames / "3.png"),
        "-o",
        str(tmp_path / "out"),
        "--json",
    ]
    assert main(words) == 0
    image = normalise(np.asarray(Image.open(frames / "3.png")), MEAN, STD)
    expected = run_onnx(path, {"image": image})["semseg"]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "3_semseg.npy"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cameras": ("picture",)}, "--camera must be one of image, not 'picture'"),
        ({"cameras": ("image",)}, "--camera image must come with --mean and --std, since the model records no"),
    ],
)
def test_refusals_of_check_and_compile(options: dict[str, tuple[str, ...]], text: str, tmp_path: Path) -> None:
    from edgemtl.driver import check_model

    path = convolution(tmp_path)
    with pytest.raises(UsageError, match=text):
        compile_model(path, CompileOptions(**options), tmp_path / "a.edgemtl")
    with pytest.raises(UsageError, match=text):
        check_model(path, CheckOptions(**options))
