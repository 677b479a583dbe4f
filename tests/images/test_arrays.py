"""Arrays from files that are not what they say."""

import os
import struct

import numpy as np
import pytest

from edgemtl.errors import InputError
from edgemtl.images import read_array
from edgemtl.images.arrays import MAX_ARRAY_BYTES


def npy(header: str, data: bytes = bytes(64)) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def header(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    "content",
    [
        npy(header("(1, 3, 200000, 200000)")),
        npy(header("(4294967296, 4294967296, 4294967296, 16)")),
        npy(header(f"({2**70},)")),
        npy(header("(-1, 3)")),
        npy(header("(1,)", "'O'")),
        npy(header("(1,)", "'V99999999999999'")),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 2, 2), "),
        npy("(" * 100),
        npy("-" * 100 + "1"),
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04",
        b"",
    ],
)
def test_broken_arrays_cost_nothing(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a.npy: must be a readable .npy array; "):
        read_array(path)


def test_what_is_no_file_of_an_array(tmp_path):
    with pytest.raises(InputError, match=r"must be an .npy file, and there is no such file"):
        read_array(tmp_path / "a.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(InputError, match=r"must be an .npy file, and there is no such file"):
        read_array(tmp_path / "pipe.npy")
    np.savez(tmp_path / "a.npz", np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "b.npy")
    with pytest.raises(InputError, match=r"must be a readable .npy array"):
        read_array(tmp_path / "b.npy")


def test_an_array_larger_than_any_input(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(npy(header(f"({MAX_ARRAY_BYTES // 4},)"), b""))
        file.truncate(MAX_ARRAY_BYTES + 128)
    with pytest.raises(InputError, match=f"an array must have at most {MAX_ARRAY_BYTES} bytes, not"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("array", [np.float32(3), np.zeros((0, 3), np.float32), np.asfortranarray(np.eye(3))])
def test_arrays_come_back(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), array)
