"""Frames from files: .npz and named files, read without trusting what they claim."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from edgemtl.errors import InputError, UsageError
from edgemtl.images import expand_frames, list_frames, load_frame, read_arrays


@dataclass(frozen=True)
class Input:
    name: str
    shape: tuple[int, ...] = (1, 4)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize_filter: str = "pillow-bilinear"
    is_image: bool = False
    is_camera: bool = False


ONE, TWO = [Input("a")], [Input("a"), Input("b")]


def test_one_input_takes_files_folders_and_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.arange(4.0))
    np.savez(tmp_path / "1.npz", a=np.arange(5), other=np.arange(6))
    first, second = expand_frames(ONE, [tmp_path])
    np.testing.assert_array_equal(load_frame(first, ONE).arrays["a"], np.arange(4.0))
    loaded = load_frame(second, ONE).arrays
    assert list(loaded) == ["a"]
    np.testing.assert_array_equal(loaded["a"], np.arange(5))


def test_several_inputs_take_npz_or_a_file_each(tmp_path: Path) -> None:
    np.savez(tmp_path / "1.npz", a=np.arange(5), b=np.ones((2, 3), bool))
    np.save(tmp_path / "a.npy", np.arange(5))
    np.save(tmp_path / "b=c.npy", np.ones((2, 3), bool))
    named = [Path(f"a={tmp_path / 'a.npy'}"), Path(f"b={tmp_path / 'b=c.npy'}")]
    with pytest.raises(InputError, match="there is no such file"):
        load_frame(expand_frames(TWO, [named[0], Path(f"b={tmp_path / 'no.npy'}")])[0], TWO)
    (tmp_path / "b=c.npy").rename(tmp_path / "c.npy")
    named[1] = Path(f"b={tmp_path / 'c.npy'}")
    for files in (*expand_frames(TWO, named), *expand_frames(TWO, [tmp_path])):
        arrays = load_frame(files, TWO).arrays
        np.testing.assert_array_equal(arrays["a"], np.arange(5))
        assert arrays["b"].dtype == bool


def test_mistakes_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(5))
    a = Path(f"a={tmp_path / 'a.npy'}")
    with pytest.raises(
        InputError, match=r"the model has 2 inputs, and nothing is given for b; give NAME=FILE for each"
    ):
        load_frame(expand_frames(TWO, [a])[0], TWO)
    with pytest.raises(UsageError, match="NAME of --input NAME=FILE must be one of a, b, not 'x'"):
        expand_frames(TWO, [Path("x=y.npy")])
    with pytest.raises(UsageError, match="--input must be NAME=FILE for every input, or never"):
        expand_frames(TWO, [a, tmp_path / "a.npy"])
    with pytest.raises(UsageError, match=r"--input must be given once for each of a, b; put several frames into .npz"):
        expand_frames(TWO, [a, a])
    with pytest.raises(InputError, match=r"must hold .npz files with an array for each of 2 inputs; it holds none"):
        list_frames(tmp_path, 2)
    np.savez(tmp_path / "a.npz", a=np.arange(5))
    with pytest.raises(InputError, match="must have the array b, as of every input, and has a"):
        read_arrays(tmp_path / "a.npz", ["a", "b"])
    with pytest.raises(InputError, match=r"input a is no image \[1, C, H, W\] in float32; give it as an .npy array"):
        load_frame(expand_frames(ONE, [Path("a=b.png")])[0], ONE)


def member(header: str, data: bytes = b"") -> bytes:
    """An .npy file whose header says something else than its data."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def pickled() -> bytes:
    file = BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no array at all",
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (120000000000,), }"),
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", b"1234"),
        member("__import__('os')"),
        pickled(),
    ],
)
def test_members_that_are_no_arrays(data: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(InputError, match=r"x.npz: must be a readable .npz file of arrays"):
        read_arrays(tmp_path / "x.npz", ["a"])
    (tmp_path / "y.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"y.npz: must be a readable .npz file of arrays"):
        read_arrays(tmp_path / "y.npz", ["a"])
