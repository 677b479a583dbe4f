"""Every verb from the outside: what it writes, prints and answers."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from edgemtl.cli.app import main
from edgemtl.hw import spec


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert main(["-q", *map(str, arguments), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    return document


def test_inspect_counts_what_the_shapes_say(capsys, model_file):
    document = run_json(capsys, "inspect", model_file)
    assert [task["name"] for task in document["tasks"]] == ["semseg", "depth"]
    tokens, dim = 6, 24
    semseg = document["tasks"][0]["parts"]
    assert semseg["patch"] == tokens * dim * 3 * 8 * 8
    assert semseg["gates"] == tokens * dim * 5
    assert semseg["experts"] == 2 * tokens * 2 * dim * 20


def test_check_names_every_node(capsys, model_file):
    document = run_json(capsys, "check", model_file, "--target", "cpu-avx2")
    assert document["supported"]
    assert {"linear", "attention", "moe"} <= {node["how"] for node in document["nodes"]}
    assert all(node["reason"] for node in document["nodes"] if node["how"] == "generic")


def test_run_writes_what_onnxruntime_says(capsys, model_file, bundle_file, in_folder):
    image = np.random.default_rng(1).standard_normal((1, 3, 16, 24), np.float32)
    np.save("image.npy", image)
    document = run_json(capsys, "run", bundle_file, "--task", "depth", "--input", "image.npy", "-o", "out")
    expected = onnxruntime.InferenceSession(str(model_file)).run(["depth"], {"image": image})[0]
    assert [item["task"] for item in document["written"]] == ["depth"]
    np.testing.assert_allclose(np.load(document["written"][0]["array"]), expected, atol=1e-4)
    with Image.open(document["written"][0]["picture"]) as picture:
        assert picture.size == (24, 16)


def test_run_resizes_and_normalises_pictures(capsys, model_file, bundle_file, in_folder):
    Image.fromarray(np.full((32, 48, 3), 200, np.uint8)).save("grey.png")
    document = run_json(capsys, "run", bundle_file, "--input", "grey.png", "-o", "out")
    assert all(item["resized"] for item in document["written"])
    mean, std = (np.array(v, np.float32)[:, None, None] for v in _normalisation(model_file))
    image = np.broadcast_to((np.float32(200 / 255) - mean) / std, (1, 3, 16, 24)).astype(np.float32)
    for item in document["written"]:
        expected = onnxruntime.InferenceSession(str(model_file)).run([item["task"]], {"image": image})[0]
        np.testing.assert_allclose(np.load(item["array"]), expected, atol=1e-4)


def _normalisation(model_file: Path) -> tuple[list[float], list[float]]:
    held = onnxruntime.InferenceSession(str(model_file)).get_modelmeta().custom_metadata_map
    described = json.loads(held["edgemtl"])["input"]
    return described["mean"], described["std"]


def test_eval_is_perfect_on_its_own_answers(capsys, bundle_file, in_folder):
    for name in ("images", "semseg", "depth"):
        Path("data", name).mkdir(parents=True)
    generator = np.random.default_rng(2)
    for index in range(3):
        Image.fromarray(generator.integers(0, 255, (16, 24, 3), np.uint8)).save(f"data/images/{index}.png")
    run_json(capsys, "run", bundle_file, "--input", "data/images", "-o", "out")
    for index in range(3):
        classes = np.load(f"out/{index}_semseg.npy")[0].argmax(0).astype(np.uint8)
        Image.fromarray(classes).save(f"data/semseg/{index}.png")
        np.save(f"data/depth/{index}.npy", np.load(f"out/{index}_depth.npy")[0, 0] + np.float32(50))
    scores = {t["task"]: t["metrics"] for t in run_json(capsys, "eval", bundle_file, "--data", "data")["tasks"]}
    assert scores["semseg"]["miou"] == 1
    assert scores["depth"]["rmse"] == pytest.approx(50, rel=1e-4)


def test_bench_reports_every_task(capsys, bundle_file):
    document = run_json(capsys, "bench", bundle_file, "--runs", "3", "--warmup", "1", "--threads", "1")
    assert document["figures"] == "measured"
    assert [(t["task"], t["runs"]) for t in document["tasks"]] == [("semseg", 3), ("depth", 3)]
    assert all(0 < t["p10_ms"] <= t["median_ms"] <= t["p90_ms"] for t in document["tasks"])


def test_selftest_and_verify_pass(capsys, bundle_file):
    assert run_json(capsys, "selftest", bundle_file)["passed"]
    assert run_json(capsys, "bundle", "verify", bundle_file)["verified"]


def test_info_tells_memory_and_notes(capsys, bundle_file):
    manifest = run_json(capsys, "bundle", "info", bundle_file)["manifest"]
    assert manifest["program"]["arena_bytes"] > 0
    assert any("arena" in note for note in manifest["notes"])
    assert main(["bundle", "info", str(bundle_file)]) == 0
    assert "semseg" in capsys.readouterr().out


def test_targets_and_doctor(capsys):
    listed = run_json(capsys, "targets", "list")
    assert [target["name"] for target in listed["targets"]] == ["cpu-avx512-vnni", "cpu-avx512", "cpu-avx2", "cpu-a53"]
    assert [board["name"] for board in listed["boards"]] == list(spec.BOARDS)
    assert [board["dsp_clock_mhz"] for board in listed["boards"]][:2] == [300, 600]
    assert all(board["compiles"] and not board["hypothetical"] for board in listed["boards"])
    assert run_json(capsys, "targets", "show", "cpu-a53")["target"]["vector_bits"] == 128
    assert {"numpy", "g++"} <= {finding["what"] for finding in run_json(capsys, "doctor")["findings"]}


def test_boards_are_shown_with_the_sum_of_their_engine(capsys):
    board = run_json(capsys, "targets", "show", "zcu104")["board"]
    shown = {figure["name"]: (figure["value"], figure["basis"]) for figure in board["figures"]}
    assert shown["board.part.dsp"] == (1728, "published")
    assert shown["board.memory.sustained_bytes_per_s"] == (12_800_000_000, "estimated")
    assert (shown["peak_macs_per_cycle"][0], shown["peak_gmac_per_s"][0]) == (3072, 921.6)
    sums = {total["resource"]: (total["needs"], total["has"]) for total in board["totals"]}
    assert sums["dsp"] == (1655, 1728)
    assert {row["basis"] for row in board["rows"]} == {"prototype", "calculated", "estimated"}
    assert not board["hypothetical"]


def test_boards_print_as_tables(capsys):
    assert main(["targets", "list"]) == 0
    assert "300 MHz, DSP blocks at 600 MHz" in capsys.readouterr().out
    assert main(["targets", "show", "zcu102"]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("XCZU9EG", "921.6", "96 * 32 / 2 + 32", "62.2%", "42.67", "91.0%"))
    assert "HYPOTHETICAL" not in printed
    assert main(["targets", "list"]) == 0
    assert "ultra96v2 " in capsys.readouterr().out


def test_a_hypothetical_board_says_so_first(capsys, in_folder):
    text = (spec.FOLDER / "kv260.toml").read_text().replace('name = "kv260"', 'name = "dream"\nhypothetical = true')
    Path("my.toml").write_text(text)
    assert main(["targets", "show", "./my.toml"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("HYPOTHETICAL BOARD")
    assert "published" not in printed.split("figure", 1)[1]
    assert run_json(capsys, "targets", "show", "my.toml")["board"]["hypothetical"]


def test_export_and_compile_by_hand(capsys, in_folder):
    assert main(["-q", "export", "--preset", "demo", "--seed", "1", "-o", "demo.onnx", "--task", "edges"]) == 0
    assert "edges" in capsys.readouterr().out
    document = run_json(capsys, "compile", "demo.onnx", "--memory-budget", "3MiB", "-o", "demo.edgemtl")
    assert document["arena_bytes"] + document["prepared_bytes"] <= 3 * 2**20
    assert document["bundle_bytes"] == Path("demo.edgemtl").stat().st_size


def test_compiling_twice_gives_the_same_bytes(model_file, bundle_file, in_folder):
    assert main(["-q", "compile", str(model_file), "-o", "again.edgemtl"]) == 0
    assert Path("again.edgemtl").read_bytes() == bundle_file.read_bytes()


def test_calibrated_pathway_from_a_folder(capsys, model_file, in_folder):
    Path("images").mkdir()
    for index in range(2):
        np.save(f"images/{index}.npy", np.random.default_rng(index).standard_normal((1, 3, 16, 24), np.float32))
    options = ("--pathway", "calibrated", "--calibration", "images", "-o", "app.edgemtl")
    document = run_json(capsys, "compile", model_file, *options)
    assert {task["pathway"] for task in document["tasks"]} == {"calibrated"}
    assert run_json(capsys, "selftest", "app.edgemtl")["passed"]
