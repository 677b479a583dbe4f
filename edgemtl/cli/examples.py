"""Examples of every verb: printed by --help, and each is tried by a test."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "export": (
        "edgemtl export --checkpoint m3vit_demo.safetensors -o model.onnx",
        "edgemtl export --checkpoint m3vit.pth --preset m3vit_small_nyud -o model.onnx",
        "edgemtl export --print-config demo > mine.json",
        "edgemtl export --config mine.json --seed 0 -o model.onnx",
        "edgemtl export --checkpoint model.pth --preset demo --resize-filter pillow-bicubic -o model.onnx",
    ),
    "inspect": (
        "edgemtl inspect model.onnx",
        "edgemtl inspect model.onnx --rename output_0=depth --json",
    ),
    "check": (
        "edgemtl check model.onnx",
        "edgemtl check model.onnx --target zcu104",
        "edgemtl check model.onnx --precision int8 --keep-float '*Resize*'",
    ),
    "merge": (
        "edgemtl merge semseg.onnx depth.onnx -o all.onnx",
        "edgemtl merge --task semseg=a.onnx --task depth=b.onnx -o all.onnx",
        "edgemtl merge semseg.onnx depth.onnx --deltas 8 -o all.onnx",
    ),
    "quantize": (
        "edgemtl quantize model.onnx --calibration images/ -o model.int8.onnx",
        "edgemtl quantize model.onnx --calibration images/ --method percentile -o model.int8.onnx",
    ),
    "compile": (
        "edgemtl compile model.onnx -o app.edgemtl",
        "edgemtl compile model.onnx --task semseg --task depth --memory-budget 8MiB -o app.edgemtl",
        "edgemtl compile model.onnx --precision int8 --calibration images/ -o app.edgemtl",
        "edgemtl compile model.onnx --target zcu104 --precision int8 --calibration images/ -o board.edgemtl",
    ),
    "compare": (
        "edgemtl compare onnx fp32 --model model.onnx --task depth --input photo.png",
        "edgemtl compare onnx int8 --model model.onnx --task depth --input photo.png --calibration images/"
        " --fail-below 20dB",
    ),
    "run": (
        "edgemtl run app.edgemtl --input photo.png -o out/",
        "edgemtl run app.edgemtl --task depth --input images/ -o out/ --force",
        "edgemtl run signed.edgemtl --keys maker.pub --input photo.png -o out/",
    ),
    "eval": ("edgemtl eval app.edgemtl --data scenes/", "edgemtl eval app.edgemtl --data scenes/ --task depth --json"),
    "selftest": ("edgemtl selftest app.edgemtl", "edgemtl selftest board.edgemtl --json"),
    "bench": ("edgemtl bench app.edgemtl", "edgemtl bench app.edgemtl --task depth --threads 1 --runs 30"),
    "profile": (
        "edgemtl profile app.edgemtl --input photo.png -o report/",
        "edgemtl profile board.edgemtl --input images/ -o report/ --force",
    ),
    "disassemble": ("edgemtl disassemble board.edgemtl", "edgemtl disassemble board.edgemtl --task depth --json"),
    "export-vectors": (
        "edgemtl export-vectors board.edgemtl -o vectors/",
        "edgemtl export-vectors board.edgemtl --task depth -o vectors/ --force",
    ),
    "doctor": ("edgemtl doctor", "edgemtl doctor --json"),
    "bundle info": ("edgemtl bundle info app.edgemtl", "edgemtl bundle info app.edgemtl --json"),
    "bundle verify": (
        "edgemtl bundle verify app.edgemtl",
        "edgemtl bundle verify signed.edgemtl --key maker.pub --min-version 7",
    ),
    "bundle keygen": ("edgemtl bundle keygen -o maker",),
    "bundle sign": ("edgemtl bundle sign app.edgemtl --key maker --counter 7 -o signed.edgemtl",),
    "targets list": ("edgemtl targets list",),
    "targets show": ("edgemtl targets show cpu-a53", "edgemtl targets show zcu104", "edgemtl targets show mine.toml"),
}
"""By the words of the verb."""
