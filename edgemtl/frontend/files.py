"""The bytes of an ONNX file and of the weight files it names, read without leaving the model's folder."""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgemtl.errors import ModelError
from edgemtl.paths import check_model_file

LEAST_IR_VERSION = 4
MAX_FILE_BYTES = 2**31 - 1
"""What a protobuf message can be."""
MAX_ELEMENTS = 2**28
"""Of one tensor: 1 GiB of float32."""


@dataclass(frozen=True)
class LoadedFile:
    """A parsed file whose tensors all hold their data, the sha256 of it and of its weight files, and these files."""

    proto: onnx.ModelProto
    sha256: str
    weight_files: tuple[Path, ...]


def load(path: Path) -> LoadedFile:
    """Read the model at `path`; `ModelError` for anything that is not a whole, self-contained ONNX model."""
    data = _read(path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"{path} must be an ONNX model, not a damaged or different file; export it again") from error
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(f"{path} must be an ONNX model with nodes and outputs, not one without; export it again")
    digest = hashlib.sha256(data)
    tensors = list(iterate_tensors(proto))
    for tensor in tensors:
        _check_shape(tensor)
    external = (tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL)
    locations = dict.fromkeys(_external_keys(tensor).get("location", "") for tensor in external)
    for file in _embed_external(path, tensors):
        digest.update(file)
    for tensor in tensors:
        _check_data(tensor)
    # Before version 4 every initializer was an input as well, and the libraries make it one again.
    proto.ir_version = max(proto.ir_version, LEAST_IR_VERSION)
    return LoadedFile(proto, digest.hexdigest(), tuple(path.parent / location for location in locations))


def _read(path: Path) -> bytes:
    check_model_file(path)
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        hint = "store the weights as external data" if size else "export it again"
        raise ModelError(f"{path} must have 1 to {MAX_FILE_BYTES} bytes, not {size}; {hint}")
    return path.read_bytes()


def iterate_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers and attributes of the graph, its subgraphs and its functions."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelError(f"initializer {name} must be dense, not sparse; store it as a plain tensor")
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterator[onnx.NodeProto] | list[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _graph_tensors(graph)


def _check_shape(tensor: onnx.TensorProto) -> None:
    dims = list(tensor.dims)
    if any(dim < 0 for dim in dims) or math.prod(dims) > MAX_ELEMENTS:
        rule = f"non-negative sizes and at most {MAX_ELEMENTS} elements"
        raise ModelError(f"tensor {tensor.name} must have {rule}, not shape {dims}; export the model again")


def _embed_external(path: Path, tensors: list[onnx.TensorProto]) -> Iterator[bytes]:
    """Move external data into the tensors; yields the content of each file once, in order of name."""
    named: dict[str, list[onnx.TensorProto]] = {}
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            named.setdefault(_external_keys(tensor).get("location", ""), []).append(tensor)
    for location in sorted(named):
        data = _external_file(path, named[location][0].name, location).read_bytes()
        for tensor in named[location]:
            _embed(tensor, data)
        yield data


def _external_keys(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _external_file(path: Path, tensor: str, location: str) -> Path:
    """The file at `location`, which must be a plain one at or below the model's folder."""
    parts = PurePosixPath(location).parts
    absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or "\\" in location
    if not parts or absolute or ".." in parts or "\0" in location:
        _refuse(tensor, location, "name a file in the model's folder")
    file = path.parent
    for part in parts:
        file = file / part
        if file.is_symlink():
            _refuse(tensor, location, "not lead through a symbolic link")
    if not file.exists() or not stat.S_ISREG(file.stat().st_mode):
        _refuse(tensor, location, "be there beside the model")
    return file


def _refuse(tensor: str, location: str, rule: str) -> None:
    what = f"external data of tensor {tensor}"
    raise ModelError(f"{what} must {rule}, not be {location!r}; put the weights beside the model and export it again")


def _embed(tensor: onnx.TensorProto, data: bytes) -> None:
    keys = _external_keys(tensor)
    try:
        offset = int(keys.get("offset", "0"))
        length = int(keys.get("length", str(len(data) - offset)))
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > len(data):
        where = f"offset {keys.get('offset', '0')}, length {keys.get('length', 'rest')}"
        rule = f"inside its file of {len(data)} bytes"
        raise ModelError(f"external data of tensor {tensor.name} must be {rule}, not at {where}; export it again")
    tensor.raw_data = data[offset : offset + length]
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _check_data(tensor: onnx.TensorProto) -> None:
    """A tensor holds as many elements as its shape says."""
    try:
        size = onnx.numpy_helper.to_array(tensor).size
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        shape = list(tensor.dims)
        raise ModelError(
            f"tensor {tensor.name} must hold the data of its shape {shape}; export the model again"
        ) from error
    if size != math.prod(tensor.dims):
        raise ModelError(f"tensor {tensor.name} must hold {math.prod(tensor.dims)} elements, not {size}")
