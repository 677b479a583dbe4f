"""Pictures: what PNG and JPEG files can hold, against pixels made apart, and what is refused."""

import io
import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgemtl.errors import InputError
from edgemtl.images import read_label_picture, read_picture
from edgemtl.images.formats import MAX_FILE_BYTES, MAX_SCANS

RNG = np.random.default_rng(5)
COLOURS = RNG.integers(0, 256, (6, 9, 3), np.uint8)


def png(path: Path, pixels: np.ndarray, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG file written by hand: rows of big-endian samples, and chunks in front of them."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    packed = (
        np.packbits(np.unpackbits(rows[..., None], axis=-1)[..., -depth:].reshape(height, -1), axis=-1)
        if depth < 8
        else rows
    )
    data = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pixels_of(path: Path, channels: int = 3) -> np.ndarray:
    return np.asarray(read_picture(path, channels).image)


def test_rgb_comes_back_as_it_was(tmp_path):
    picture = read_picture(png(tmp_path / "a.png", COLOURS, 8, 2), 3)
    np.testing.assert_array_equal(np.asarray(picture.image), COLOURS)
    assert picture.notes == ()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_orientation_is_applied(tmp_path, turn, kind):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOURS).save(path, kind, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read_picture(path, 3)
    np.testing.assert_array_equal(np.asarray(picture.image), expected)
    assert expected.shape[0] == (9 if turn > 4 else 6)
    assert picture.notes == (() if turn == 1 else ("turned upright as its EXIF orientation says",))


def test_orientation_behind_the_pixels_of_a_png(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png(tmp_path / "a.png", COLOURS, 8, 2).read_bytes()
    end = chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(
        data.removesuffix(end) + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + end
    )
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), np.rot90(COLOURS, -1))


@pytest.mark.parametrize(("exif", "note"), [(b"Exif\0\0damaged", "EXIF data is damaged"), (9, "none of 1 to 8")])
def test_orientation_that_means_nothing_is_told(tmp_path, exif, note):
    if isinstance(exif, int):
        tags = Image.Exif()
        tags[0x0112] = exif
        exif = tags.tobytes()
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", exif=exif)
    (text,) = read_picture(tmp_path / "a.jpg", 3).notes
    assert note in text


def test_16_bit_grey_loses_nothing(tmp_path):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = read_picture(png(tmp_path / "a.png", levels, 16, 0), 3)
    np.testing.assert_allclose(np.asarray(picture.image), levels / 257, rtol=1e-6)
    assert len(np.unique(np.asarray(picture.image))) == 65536
    assert "16-bit grey scaled to the range of 8 bits, as float32" in picture.notes


def test_16_bit_colours_keep_their_upper_bits_and_say_so(tmp_path):
    samples = RNG.integers(0, 65536, (4, 5, 3), np.uint16)
    picture = read_picture(png(tmp_path / "a.png", samples, 16, 2), 3)
    np.testing.assert_array_equal(np.asarray(picture.image), samples >> 8)
    assert picture.notes == ("16 bits a channel, of which the upper 8 are used",)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("clear", [False, True])
def test_grey_of_few_bits_with_a_transparent_level(tmp_path, depth, clear):
    most = (1 << depth) - 1
    levels = RNG.integers(0, most + 1, (6, 9), np.uint8)
    levels[0, :2] = 0, most
    key = [(b"tRNS", struct.pack(">H", 0))] if clear else []
    picture = read_picture(png(tmp_path / "a.png", levels, depth, 0, *key), 3)
    expected = np.where(levels == 0, 255, levels * (255 // most)) if clear else levels * (255 // most)
    found = np.asarray(picture.image.convert("RGB"))
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, 2))
    assert ("transparent pixels laid on white" in picture.notes) == clear


def test_16_bit_grey_with_a_transparent_level(tmp_path):
    levels = np.array([[0, 300, 65535]], np.uint16)
    found = pixels_of(png(tmp_path / "a.png", levels, 16, 0, (b"tRNS", struct.pack(">H", 300))))
    np.testing.assert_allclose(found, [[0, 255, 255]])


def test_alpha_is_laid_on_white_whatever_colour_it_hides(tmp_path):
    alpha = RNG.integers(0, 256, (70, 9, 1), np.uint8)
    colours = RNG.integers(0, 256, (70, 9, 3), np.uint8)
    alpha[0], alpha[1] = 0, 255
    picture = read_picture(png(tmp_path / "a.png", np.concatenate([colours, alpha], 2), 8, 6), 3)
    share = alpha.astype(float) / 255
    np.testing.assert_allclose(np.asarray(picture.image), colours * share + 255 * (1 - share), atol=1)
    np.testing.assert_array_equal(np.asarray(picture.image)[:2], [np.full((9, 3), 255), colours[1]])
    assert picture.notes == ("transparent pixels laid on white",)


def test_grey_with_alpha(tmp_path):
    samples = np.array([[[10, 0], [10, 255], [100, 51]]], np.uint8)
    for channels, expected in ((3, [[[255] * 3, [10] * 3, [224] * 3]]), (1, [[255, 10, 224]])):
        np.testing.assert_array_equal(pixels_of(png(tmp_path / "a.png", samples, 8, 4), channels), expected)


def test_a_palette_with_and_without_transparency(tmp_path):
    palette, ids = RNG.integers(0, 256, (4, 3), np.uint8), RNG.integers(0, 4, (5, 6), np.uint8)
    colours = (b"PLTE", palette.tobytes())
    np.testing.assert_array_equal(pixels_of(png(tmp_path / "a.png", ids, 2, 3, colours)), palette[ids])
    clear = read_picture(png(tmp_path / "b.png", ids, 8, 3, colours, (b"tRNS", b"\xff\x00")), 3)
    np.testing.assert_array_equal(np.asarray(clear.image), np.where((ids == 1)[..., None], 255, palette[ids]))
    assert clear.notes == ("transparent pixels laid on white",)


def test_a_transparent_colour(tmp_path):
    key = (b"tRNS", struct.pack(">HHH", *map(int, COLOURS[0, 0])))
    found = pixels_of(png(tmp_path / "a.png", COLOURS, 8, 2, key))
    np.testing.assert_array_equal(found, np.where((COLOURS == COLOURS[0, 0]).all(-1)[..., None], 255, COLOURS))
    with pytest.raises(InputError, match="must not have a transparent colour of 16 bits a channel; save it with 8"):
        read_picture(png(tmp_path / "b.png", COLOURS.astype(np.uint16), 16, 2, key), 3)


def test_cmyk_is_made_rgb_with_a_note(tmp_path):
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
    picture = read_picture(tmp_path / "a.jpg", 3)
    np.testing.assert_allclose(np.asarray(picture.image)[8, 8], (0, 255, 255), atol=3)
    assert picture.notes == ("CMYK made RGB without a colour profile",)


def test_colours_for_a_model_of_one_channel(tmp_path):
    picture = read_picture(png(tmp_path / "a.png", COLOURS, 8, 2), 1)
    np.testing.assert_allclose(np.asarray(picture.image), COLOURS @ (0.299, 0.587, 0.114), atol=0.51)
    assert picture.notes == ("colours made grey (ITU-R 601)",)


OTHERS = {
    "GIF": "GIF",
    "BMP": "BMP",
    "TIFF": "TIFF",
    "PPM": "PNM",
    "WEBP": "WebP",
    "EPS": "PostScript (EPS)",
    "JPEG2000": "JPEG 2000",
    "ICO": "an icon (ICO)",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_are_refused_by_name_whatever_the_file_is_called(tmp_path, kind):
    try:
        Image.new("RGB", (32, 32)).save(tmp_path / "a.png", kind)
    except (OSError, KeyError) as error:
        pytest.skip(f"this Pillow does not write {kind}: {error}")
    with pytest.raises(InputError, match="must be a readable PNG or JPEG picture, not ") as error:
        read_picture(tmp_path / "a.png", 3)
    assert f"not {OTHERS[kind]}; convert it" in str(error.value)


def test_postscript_starts_no_program(tmp_path, monkeypatch):
    mark = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\nshowpage\n%%EOF\n")
    with pytest.raises(InputError, match=r"not PostScript \(EPS\); convert it"):
        read_picture(tmp_path / "a.png", 3)
    assert not mark.exists()


def test_the_name_does_not_matter(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png", "JPEG")
    assert pixels_of(tmp_path / "a.png").shape == COLOURS.shape


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_files_that_are_no_pictures(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a.png: must be a readable PNG or JPEG picture"):
        read_picture(tmp_path / "a.png", 3)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path / "missing.png", tmp_path, Path("/dev/zero")):
        with pytest.raises(InputError, match="must be a PNG or JPEG picture, and there is no such file"):
            read_picture(path, 3)


def saved(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (40, 40, 3), np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("data", [saved("PNG"), saved("JPEG"), saved("JPEG", progressive=True)])
def test_truncated_files_are_refused(tmp_path, data):
    for length in range(0, len(data) - 2, 97):
        (tmp_path / "a.png").write_bytes(data[:length])
        with pytest.raises(InputError, match="must be a readable PNG or JPEG picture"):
            read_picture(tmp_path / "a.png", 3)


def test_every_changed_byte_of_a_png_is_noticed(tmp_path):
    data = saved("PNG")
    for place in range(0, len(data), 41):
        (tmp_path / "a.png").write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(InputError):
            read_picture(tmp_path / "a.png", 3)


@pytest.mark.parametrize("data", [saved("JPEG"), saved("JPEG", progressive=True, exif=Image.Exif().tobytes())])
def test_a_damaged_jpeg_is_decoded_or_refused(tmp_path, data):
    """A JPEG has no checksum: damage among its coefficients only shows."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.integers(2, 300)] ^= 1 << rng.integers(8)
        (tmp_path / "a.jpg").write_bytes(damaged)
        with suppress(InputError):
            assert read_picture(tmp_path / "a.jpg", 3).image.mode == "RGB"


@pytest.mark.parametrize("side", [8193, 30_000, 1 << 31 - 1])
def test_bombs_are_refused_by_their_header(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    with pytest.raises(InputError, match=r"at most 67108864 pixels|could be decompression bomb"):
        read_picture(tmp_path / "a.png", 3)


def test_a_file_larger_than_any_picture(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.write(saved("PNG"))
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match=f"a picture must have at most {MAX_FILE_BYTES} bytes, not"):
        read_picture(tmp_path / "a.png", 3)


def test_a_jpeg_of_endless_scans(tmp_path):
    data = saved("JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(data[:at] + data[at:-2] * MAX_SCANS + data[-2:])
    with pytest.raises(InputError, match=f"a JPEG picture must have at most {MAX_SCANS} scans, not 1"):
        read_picture(tmp_path / "a.jpg", 3)


LARGE = """
import sys
from pathlib import Path
from edgemtl.errors import InputError
from edgemtl.images import read_picture
try:
    print(*read_picture(Path(sys.argv[1]), 3, (64, 64)).image.size)
except InputError as error:
    print(error)
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""The size of a picture or why it is refused, and the most memory the process had in KiB."""


@pytest.mark.parametrize(
    ("mode", "name", "options", "outcome"),
    [
        ("L", "a.png", {}, "8192 8192"),
        ("RGB", "a.png", {"compress_level": 1}, "8192 8192"),
        ("RGB", "a.jpg", {}, "1024 1024"),
        ("CMYK", "a.jpg", {}, "1024 1024"),
        ("RGB", "b.jpg", {"progressive": True}, ""),
        ("RGBA", "a.png", {"compress_level": 1}, ""),
    ],
)
def test_64_megapixels_take_less_than_400_mib(tmp_path, mode, name, options, outcome):
    Image.new(mode, (8192, 8192)).save(tmp_path / name, **options)
    command = [sys.executable, "-c", LARGE, str(tmp_path / name)]
    said, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said.startswith(outcome)
    assert outcome or "decoding must take at most 256 MiB, not" in said
    assert int(peak) < 400 << 10


def test_a_large_jpeg_decoded_smaller_says_so_and_keeps_twice_the_size(tmp_path):
    Image.new("RGB", (4800, 3600)).save(tmp_path / "a.jpg")
    picture = read_picture(tmp_path / "a.jpg", 3, (512, 512))
    assert picture.image.size == (1200, 900) or picture.image.size == (2400, 1800)
    assert min(picture.image.size) >= 1024
    assert picture.notes == ("decoded at 1/2 of its size, since it has over 16 Mpixel",)
    assert read_picture(tmp_path / "a.jpg", 3, (2000, 2000)).image.size == (4800, 3600)


def test_labels_keep_their_numbers(tmp_path):
    ids = RNG.integers(0, 4, (5, 6), np.uint8)
    palette = (b"PLTE", RNG.integers(0, 256, (4, 3), np.uint8).tobytes())
    np.testing.assert_array_equal(read_label_picture(png(tmp_path / "a.png", ids, 2, 3, palette)), ids)
    levels = RNG.integers(0, 65536, (5, 6), np.uint16)
    np.testing.assert_array_equal(read_label_picture(png(tmp_path / "a.png", levels, 16, 0)), levels)


def test_labels_of_several_channels_or_jpeg_are_refused(tmp_path):
    with pytest.raises(InputError, match="a label must have one channel, not mode RGB; save class ids or a mask"):
        read_label_picture(png(tmp_path / "a.png", COLOURS, 8, 2))
    Image.new("L", (8, 8)).save(tmp_path / "b.png", "JPEG")
    with pytest.raises(InputError, match="a label must be a PNG, not JPEG, which changes numbers; save it again"):
        read_label_picture(tmp_path / "b.png")
