"""The weights section: aligned, deduplicated by content, named for people."""

from __future__ import annotations

import numpy as np

from edgemtl.codegen.cpu.weights import WeightStore


def test_equal_contents_are_stored_once() -> None:
    store = WeightStore()
    assert store.add("a", np.ones(3, np.float32)) == store.add("b", np.ones(3, np.float32)) == 0
    assert [tensor.name for tensor in store.tensors] == ["a"]


def test_equal_bytes_of_another_type_or_shape_are_other_tensors() -> None:
    store = WeightStore()
    offsets = {
        store.add("a", array)
        for array in (np.zeros(4, np.float32), np.zeros(4, np.int32), np.zeros((2, 2), np.float32))
    }
    assert offsets == {0, 64, 128}


def test_tensors_start_on_64_bytes_and_the_size_ends_there() -> None:
    store = WeightStore()
    assert [store.add("a", np.arange(n, dtype=np.float32)) for n in (1, 16, 17)] == [0, 64, 128]
    assert store.size == 256


def test_a_taken_name_gets_a_number() -> None:
    store = WeightStore()
    for value in (1.0, 2.0, 3.0):
        store.add("w", np.full(2, value, np.float32))
    assert [tensor.name for tensor in store.tensors] == ["w", "w#2", "w#3"]


def test_offsets_count_elements() -> None:
    store = WeightStore()
    places = [store.add("a", np.arange(20, dtype=np.float32)), store.add("b", np.ones(1, np.float32))]
    store.add_offsets("table", places)
    assert store.tensors[-1].array.tolist() == [0, 32]
    assert store.tensors[-1].array.dtype == np.int32
