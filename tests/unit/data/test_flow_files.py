from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from weightsearch.data.flow_files import read_flow, write_flo
from weightsearch.errors import DataError

UNKNOWN_BITS = [0x7F800001, 0x7FC00000, 0x7F800000, 0xFF800000]  # NaNs, signalling and quiet, and the infinities


def png_bytes(values, *, bits=16, colour=2, interlace=0, header=None, rows=None) -> bytes:
    """A PNG by the standard's text, unfiltered. values: uint16 or uint8, [H, W, channels]."""
    height, width = values.shape[:2]
    lines = [b"\0" + row.astype(">u2" if bits == 16 else np.uint8).tobytes() for row in values][:rows]
    head = struct.pack(">IIBBBBB", *(header or (width, height)), bits, colour, 0, 0, interlace)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def some_values(seed=0, size=(5, 7)):
    values = np.random.default_rng(seed).integers(0, 2**16, (*size, 3), dtype=np.uint16)
    values[:, :, 2] = values[:, :, 2] % 3 > 0
    return values


def flo_bytes(width, height, values, magic=202021.25) -> bytes:
    return struct.pack("<fii", magic, width, height) + np.asarray(values, dtype="<f4").tobytes()


def test_a_real_flo(data_root):
    """RubberWhale as Middlebury describes it: 584 x 388, motions of a few pixels, a hundredth unknown."""
    path = data_root / "flow" / "rubberwhale" / "flow_gt.flo"
    flow = read_flow(path)
    assert (flow.shape, flow.dtype) == ((388, 584, 2), np.float32)
    unknown = np.isnan(flow)
    assert np.array_equal(unknown[:, :, 0], unknown[:, :, 1])
    assert 0.005 < unknown.mean() < 0.02
    assert 4 < np.nanmax(np.linalg.norm(flow, axis=2)) < 5
    raw = path.read_bytes()
    for row, column in ((100, 50), (250, 444)):  # component by component out of the file
        pixel = struct.unpack_from("<2f", raw, 12 + 8 * (row * 584 + column))
        assert tuple(flow[row, column]) == pixel


def test_real_flow_leads_from_the_first_picture_to_the_second(data_root):
    from weightsearch.data.images import read_colour

    folder = data_root / "flow" / "rubberwhale"
    first, second = (read_colour(folder / f"frame{number}.png").astype(float) for number in (1, 2))
    flow = read_flow(folder / "flow_gt.flo")
    rows, columns = np.nonzero(np.linalg.norm(flow, axis=2) > 2)

    def apart(sign: int) -> float:
        across = np.clip(np.rint(columns + sign * flow[rows, columns, 0]), 0, 583).astype(int)
        down = np.clip(np.rint(rows + sign * flow[rows, columns, 1]), 0, 387).astype(int)
        return float(np.abs(first[rows, columns] - second[down, across]).mean())

    assert apart(1) < 0.5 * min(apart(0), apart(-1))


def test_the_real_file_is_written_back_with_the_same_numbers(data_root, tmp_path):
    flow = read_flow(data_root / "flow" / "rubberwhale" / "flow_gt.flo")
    write_flo(tmp_path / "a.flo", flow)
    assert (tmp_path / "a.flo").stat().st_size == 12 + 8 * 584 * 388
    assert np.array_equal(read_flow(tmp_path / "a.flo"), flow, equal_nan=True)


def test_a_flo_of_known_numbers(tmp_path):
    (tmp_path / "a.flo").write_bytes(flo_bytes(3, 2, np.arange(12)))
    flow = read_flow(tmp_path / "a.flo")
    assert flow.tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
    write_flo(tmp_path / "b.flo", flow.astype(np.float64))
    assert (tmp_path / "b.flo").read_bytes() == (tmp_path / "a.flo").read_bytes()
    assert (tmp_path / "a.flo").read_bytes()[:4] == b"PIEH"


def test_a_flo_is_unknown_where_either_component_is_beyond_1e9(tmp_path):
    values = np.zeros((2, 4, 2), np.float32)
    values[0, 0, 0], values[0, 1, 1], values[0, 2, 0] = 1.5e9, -1.5e9, 1e9
    values.view(np.uint32)[1, :, 1] = UNKNOWN_BITS
    (tmp_path / "a.flo").write_bytes(flo_bytes(4, 2, values))
    flow = read_flow(tmp_path / "a.flo")
    known = [[False, False, True, True], [False] * 4]
    assert np.array_equal(np.isnan(flow), ~np.array(known)[:, :, None].repeat(2, 2))


def test_what_is_not_known_is_written_as_middlebury_does(tmp_path):
    flow = np.ones((1, 3, 2))
    flow[0, 1, 0], flow[0, 2, 1] = np.nan, 1e300
    write_flo(tmp_path / "a.flo", flow)
    assert np.frombuffer((tmp_path / "a.flo").read_bytes()[12:], "<f4").tolist() == [1, 1, 1e10, 1e10, 1e10, 1e10]


def test_flow_of_another_shape_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"expected flow of shape \[H, W, 2\], found \[2, 4, 6\]"):
        write_flo(tmp_path / "a.flo", np.zeros((2, 4, 6)))
    assert not list(tmp_path.iterdir())


def test_a_png_as_kitti_has_it(tmp_path):
    """The development kit's formula: u = (value - 2^15) / 64, known where the third channel is not 0."""
    values = np.zeros((2, 3, 3), np.uint16)
    values[0] = [[32768, 32768, 1], [32768 + 64, 32768 - 128, 1], [65535, 0, 65535]]
    values[1] = [[32769, 32767, 1], [40000, 30000, 0], [0, 0, 0]]
    (tmp_path / "000000_10.png").write_bytes(png_bytes(values))
    flow = read_flow(tmp_path / "000000_10.png")
    assert flow.dtype == np.float32
    assert flow[0].tolist() == [[0, 0], [1, -2], [511.984375, -512]]
    assert flow[1, 0].tolist() == [1 / 64, -1 / 64]
    assert np.isnan(flow[1, 1:]).all()


def test_a_png_that_another_program_compressed(tmp_path):
    """With the filters that the standard knows, which pypng's own writer does not use; decoded by hand beside."""
    values = some_values(1, (6, 9))
    plain = values.astype(">u2").reshape(6, -1).view(np.uint8).astype(int)
    above = np.vstack([np.zeros_like(plain[:1]), plain[:-1]])
    left = np.hstack([np.zeros_like(plain[:, :6]), plain[:, :-6]])
    guesses = {0: np.zeros_like(plain), 1: left, 2: above, 3: (left + above) // 2}
    lines = [
        bytes([kind]) + ((plain - guesses[kind]) % 256)[row].astype(np.uint8).tobytes()
        for row, kind in enumerate([1, 2, 3, 0, 3, 1])
    ]
    whole = png_bytes(values)
    start = whole.index(b"IDAT") - 4
    (tmp_path / "a.PNG").write_bytes(
        whole[:start] + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    )
    known = values[:, :, 2] > 0
    flow = read_flow(tmp_path / "a.PNG")
    assert np.array_equal(flow[known], (values[known][:, :2].astype(float) - 32768) / 64)
    assert np.isnan(flow[~known]).all()


FLO = flo_bytes(3, 2, np.zeros(12))
PNG = png_bytes(some_values())


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.flo", None, "no such file"),
        ("a.flo", b"", "0 bytes, a .flo file has at least 12"),
        ("a.flo", FLO[:11], "11 bytes, a .flo file has at least 12"),
        ("a.flo", FLO[:12], r"12 bytes, flow of 3x2 pixels has 60"),
        ("a.flo", FLO[:-1], r"59 bytes, flow of 3x2 pixels has 60"),
        ("a.flo", FLO + b"\0", r"61 bytes, flow of 3x2 pixels has 60"),
        ("a.flo", flo_bytes(3, 2, np.zeros(12), magic=202021.5), "not a .flo file: it begins with 202022"),
        ("a.flo", flo_bytes(0, 2, []), "its header says 0x2 pixels"),
        ("a.flo", flo_bytes(-3, -2, np.zeros(12)), "its header says -3x-2 pixels"),
        ("a.flo", flo_bytes(2**31 - 1, 2**31 - 1, np.zeros(12)), "60 bytes, flow of 2147483647x2147483647 pixels has"),
        ("a.flo", PNG, "not a .flo file"),
        ("a.png", None, "no such file"),
        ("a.png", b"", "not a PNG, or its beginning is damaged"),
        ("a.png", FLO, "not a PNG, or its beginning is damaged"),
        ("a.png", b"hello, I am a text", "not a PNG, or its beginning is damaged"),
        ("a.png", PNG[:-13], "a damaged PNG: "),
        ("a.png", PNG[: len(PNG) // 2], "a damaged PNG: .*too short"),
        ("a.png", PNG + b"\0", "bytes after the image's end"),
        ("a.png", png_bytes(some_values(), rows=4), "a damaged PNG: 4 rows of pixels, its header says 5"),
        ("a.png", png_bytes(some_values(), rows=0), "a damaged PNG: 0 rows of pixels, its header says 5"),
        (
            "a.png",
            PNG[:33] + chunk(b"IDAT", b"no zlib") + chunk(b"IEND", b""),
            "a damaged PNG: Error -3 while decompressing",
        ),
        ("a.png", png_bytes(some_values(), header=(7, 4)), "a damaged PNG: 5 rows of pixels, its header says 4"),
        ("a.png", png_bytes(some_values(), header=(6, 5)), "a damaged PNG: "),
        ("a.png", png_bytes(some_values(), header=(0, 5)), "its header says 0x5 pixels"),
        ("a.png", png_bytes(some_values(), header=(10**9, 10**9)), "its header says 1000000000x1000000000 pixels"),
        ("a.png", png_bytes(some_values(), header=(10**9, 10**9), interlace=1), "its header says 1000000000x10000"),
        ("a.png", png_bytes(some_values(), bits=8), "expected 3 channels of 16 bits, .* found 3 of 8"),
        ("a.png", png_bytes(some_values()[:, :, :1], colour=0), "expected 3 channels of 16 bits, .* found 1 of 16"),
        ("a.png", png_bytes(some_values()[:, :, :2], colour=4), "expected 3 channels of 16 bits, .* found 2 of 16"),
        ("a.png", png_bytes(some_values()[:, :, [0, 1, 2, 2]], colour=6), "expected 3 channels of 16 .* found 4 of 16"),
        (
            "a.png",
            png_bytes(some_values()[:, :, :1], bits=8, colour=3),
            "expected 3 channels of 16 bits, .* found 1 of",
        ),
        ("a.pfm", FLO, "not a file of optical flow, expected .flo or .png"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, what):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: {what}"):
        read_flow(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.flo").mkdir()
    with pytest.raises(DataError, match=r"a.flo: Is a directory"):
        read_flow(tmp_path / "a.flo")


def test_every_damaged_byte_and_every_lost_end_of_a_png_is_noticed(tmp_path):
    path = tmp_path / "a.png"
    for place in range(len(PNG)):
        for content in (PNG[:place], PNG[:place] + bytes([PNG[place] ^ 1]) + PNG[place + 1 :]):
            path.write_bytes(content)
            with pytest.raises(DataError, match=r"a\.png: "):
                read_flow(path)


@pytest.mark.parametrize("interlace", [0, 1])
def test_rubbish_in_whole_chunks_is_noticed_or_read_never_another_error(tmp_path, interlace):
    """Chunks whose checksums hold: what is left is the decoder's own resilience."""
    rng = np.random.default_rng(interlace)
    path = tmp_path / "a.png"
    noticed = 0
    for _ in range(300):
        head = bytearray(struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, interlace))
        pixels = bytearray(rng.integers(0, 5, rng.integers(0, 400), dtype=np.uint8).tobytes())
        if rng.uniform() < 0.3:
            head[rng.integers(3, 13)] = rng.integers(0, 256)
        packed = zlib.compress(bytes(pixels))[: None if rng.uniform() < 0.7 else int(rng.integers(0, 20))]
        extra = chunk(
            bytes(rng.choice([b"tRNS", b"sBIT", b"PLTE", b"gAMA", b"bKGD", b"pHYs"])), bytes(int(rng.integers(0, 9)))
        )
        parts = [chunk(b"IHDR", bytes(head)), extra if rng.uniform() < 0.3 else b"", chunk(b"IDAT", packed)]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))
        try:
            assert read_flow(path).shape[2] == 2
        except DataError:
            noticed += 1
    assert noticed > 200


def test_flow_that_asks_to_be_turned_is_refused(tmp_path):
    whole = png_bytes(some_values())
    tag = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, 4, 0) + b"\0\0\0\0"
    before = whole.index(b"IDAT") - 4
    (tmp_path / "f.png").write_bytes(whole[:before] + chunk(b"eXIf", tag) + whole[before:])
    with pytest.raises(DataError, match=r"f.png: its EXIF tag Orientation is 4: shown mirrored top to bottom"):
        read_flow(tmp_path / "f.png")
