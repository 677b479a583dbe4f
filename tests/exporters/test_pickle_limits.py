"""Files made to cost: nothing below may take more than a moment or than the file's own size."""

import pickle
import tracemalloc
import zipfile

import pytest
import torch

from edgemtl.errors import CheckpointError
from edgemtl.exporters.checkpoints import load_checkpoint
from tests.exporters.small import small_config, small_model

TOO_LONG = (
    "m.pth must describe its tensors in a pickle of the usual length, not in a far longer one; "
    "save it again from model.state_dict()"
)
NESTED = "m.pth must hold its state dict within 8 dicts, not deeper"


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, small_config())
    return str(caught.value).replace(f"{path.parent}/", "")


def write_archive(path, data):
    """What torch.save writes, with another pickle in it."""
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            new.writestr(name, data if name.endswith("data.pkl") else content)


def write_legacy(path, data):
    """The format before archives: magic number, protocol, machine, the object, its storages."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, machine))
    path.write_bytes(head + data + pickle.dumps([], protocol=2))


WRITERS = pytest.mark.parametrize("write", [write_archive, write_legacy])
DEPTH = 3_000_000


@WRITERS
@pytest.mark.parametrize(
    "data",
    [
        b"]" * DEPTH + b"a" * (DEPTH - 1),
        b")" + b"\x85" * DEPTH,
        b"X\x05\x00\x00\x00modelq\x00" + b"}h\x00" * DEPTH + b"}" + b"s" * DEPTH,
    ],
    ids=["lists", "tuples", "dicts"],
)
def test_deep_objects(tmp_path, write, data):
    write(tmp_path / "m.pth", b"\x80\x02" + data + b".")
    assert refusal(tmp_path / "m.pth") == TOO_LONG


@WRITERS
def test_dicts_in_dicts(tmp_path, write):
    levels = 3000
    data = b"X\x05\x00\x00\x00modelq\x00" + b"}h\x00" * levels + b"}" + b"s" * levels
    write(tmp_path / "m.pth", b"\x80\x02" + data + b".")
    assert refusal(tmp_path / "m.pth") == NESTED


@pytest.mark.parametrize("archive", [True, False])
def test_a_dict_that_holds_itself(tmp_path, archive):
    loop, pair = {}, {}
    loop["model"] = loop
    pair["state_dict"] = {"model": pair}
    for content in (loop, pair):
        torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=archive)
        assert refusal(tmp_path / "m.pth") == NESTED


@WRITERS
def test_byte_arrays_by_length(tmp_path, write):
    """torch's reader calls bytearray(2**31), which fills as much memory."""
    write(tmp_path / "m.pth", b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x80\x00\x85R.")
    expected = "m.pth must hold tensors and plain values only, not bytearray; save it again from model.state_dict()"
    assert refusal(tmp_path / "m.pth") == expected


@WRITERS
def test_a_text_that_claims_two_gigabytes(tmp_path, write):
    write(tmp_path / "m.pth", b"\x80\x02X\xff\xff\xff\x7fabc.")
    tracemalloc.start()
    assert refusal(tmp_path / "m.pth") == "m.pth must be a PyTorch checkpoint; it is damaged or something else"
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_compressed_archives(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "old.pth")
    with zipfile.ZipFile(tmp_path / "old.pth") as old:
        with zipfile.ZipFile(tmp_path / "m.pth", "w", zipfile.ZIP_DEFLATED) as new:
            for record in old.infolist():
                new.writestr(record.filename, old.read(record))
        claimed = sum(record.file_size for record in old.infolist())
    size = (tmp_path / "m.pth").stat().st_size
    assert refusal(tmp_path / "m.pth") == (
        f"m.pth must hold its records as torch.save writes them, uncompressed: they claim {claimed} bytes and the file "
        f"has {size}; save it again"
    )


def test_a_storage_that_claims_more_than_its_record(tmp_path):
    data = (
        pickle_of({"a": torch.zeros(10)}, tmp_path)
        .replace(b"K\nt", b"M\x00\xfft")
        .replace(b"K\n\x85", b"M\x00\xff\x85")
    )
    write_archive(tmp_path / "m.pth", data)
    assert refusal(tmp_path / "m.pth") == "m.pth must be a PyTorch checkpoint; it is damaged or something else"


def pickle_of(content, folder):
    torch.save(content, folder / "plain.pth")
    with zipfile.ZipFile(folder / "plain.pth") as archive:
        return archive.read("plain/data.pkl")


@pytest.mark.parametrize("archive", [True, False])
def test_a_checkpoint_with_everything_a_trainer_keeps_is_within_the_limits(tmp_path, archive):
    """Four times as many tensors as the largest preset has parameters, with their optimiser state."""
    state = {f"module.backbone.blocks.{i}.mlp.experts.htoh4.weight": torch.zeros(1) for i in range(1500)}
    momentum = {i: {"momentum_buffer": torch.zeros(1)} for i in range(1500)}
    content = {"state_dict": state, "optimizer": {"state": momentum, "param_groups": [{"params": list(range(1500))}]}}
    torch.save(content, tmp_path / "m.pth", _use_new_zipfile_serialization=archive)
    assert refusal(tmp_path / "m.pth").startswith("m.pth must hold exactly the parameters of its model; missing")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_records_of_a_name(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "m.pth")
    with zipfile.ZipFile(tmp_path / "m.pth", "a") as archive:
        archive.writestr("m/data/0", bytes(4))
    assert refusal(tmp_path / "m.pth") == "m.pth must hold each record once, not two of a name; save it again"


def test_one_changed_bit_in_the_weights_is_noticed(tmp_path):
    model = small_model()
    torch.save(model.state_dict(), tmp_path / "m.pth")
    with zipfile.ZipFile(tmp_path / "m.pth") as archive:
        record = max((r for r in archive.infolist() if "/data/" in r.filename), key=lambda record: record.file_size)
        weights = archive.read(record)
    data = bytearray((tmp_path / "m.pth").read_bytes())
    data[data.find(weights) + len(weights) // 2] ^= 1
    (tmp_path / "m.pth").write_bytes(data)
    expected = f"m.pth must be as it was saved, and the checksum of {record.filename} differs; copy it again"
    assert refusal(tmp_path / "m.pth") == expected


def test_the_old_format_is_read(tmp_path):
    model = small_model()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "m.pth", _use_new_zipfile_serialization=False)
    loaded = load_checkpoint(tmp_path / "m.pth", model.config).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "m.pth").write_bytes(b"x")
    monkeypatch.setattr("builtins.open", fail)
    assert refusal(tmp_path / "m.pth") == "m.pth must be a file that can be read: [Errno 13] Permission denied"
