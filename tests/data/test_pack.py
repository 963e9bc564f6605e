import re
import tracemalloc
from dataclasses import replace
from functools import partial
from itertools import count
from time import sleep

import numpy as np
import pytest

from mien.data.pack import _decode, in_threads, open_pack, pack_stamp, read, read_header, write_pack
from mien.data.rows import BadRow, Row, Rows, open_tree
from mien.errors import MienError
from mien.labels import FER2013, LabelSet


def image(number, size=48, channels=1):
    shape = (size, size) if channels == 1 else (size, size, 3)
    return np.random.default_rng(number).integers(0, 256, shape).astype(np.uint8)


def rows(numbers, size=48, channels=1, split="train"):
    for number in numbers:
        yield Row(f"face {number}", split, number % 7, lambda number=number: image(number, size, channels))


@pytest.mark.parametrize(("size", "channels"), [(48, 1), (45, 1), (33, 3)])  # 45: what follows the images is not aligned
def test_what_was_written_comes_back(size, channels, tmp_path):
    write_pack(
        tmp_path / "pack", Rows("test faces", FER2013, rows(range(70), size, channels)), size, channels, source="/some/where"
    )
    faces = open_pack(tmp_path / "pack")
    assert np.array_equal(faces.images, [image(number, size, channels) for number in range(70)])
    assert faces.classes.tolist() == [number % 7 for number in range(70)]
    assert faces.targets.sum(axis=1).tolist() == [1] * 70
    assert (faces.id(0), faces.id(69)) == ("face 0", "face 69")
    assert (faces.origin.kind, faces.origin.path, faces.origin.skipped) == ("test faces", "/some/where", ())


def test_the_safetensors_library_reads_the_same(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, with_votes(rows(range(40), 45))), 45, 1)
    tensors, faces = safetensors.load_file(tmp_path / "pack"), open_pack(tmp_path / "pack")
    assert np.array_equal(tensors["images"], faces.images)
    assert np.array_equal(tensors["targets"], faces.targets)
    assert np.array_equal(tensors["votes"], faces.votes)
    assert np.array_equal(tensors["splits"], faces.splits)
    assert bytes(tensors["ids"][7]).rstrip(b"\0") == b"face 7"


def test_images_begin_at_a_page_so_that_mapping_is_cheap(tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, rows(range(4))), 48, 1)
    assert open_pack(tmp_path / "pack").images.offset % 4096 == 0


def test_many_labels_with_long_names_fit_into_the_header(tmp_path):
    labels = LabelSet(f"label {'x' * 60} {number}" for number in range(1000))
    write_pack(tmp_path / "pack", Rows("test faces", labels, rows(range(7))), 48, 1)
    assert open_pack(tmp_path / "pack").labels == labels


def test_thousands_of_skipped_rows_fit_too(tmp_path):
    bad = [BadRow(f"faces/{number}.jpg", "is not an image") for number in range(5000)]
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, [*rows(range(7)), *bad]), 48, 1, skip_bad=True)
    skipped = open_pack(tmp_path / "pack").origin.skipped
    assert len(skipped) == 5000
    assert skipped[4999] == "faces/4999.jpg: is not an image"


def test_names_in_any_script_and_bytes_that_are_no_text_are_kept_readable(tmp_path):
    names = ["лицо.png", "顔.png", "\udcff.png"]
    made = [Row(name, "none", number, lambda: image(0)) for number, name in enumerate(names)]
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, made), 48, 1)
    faces = open_pack(tmp_path / "pack")
    assert [faces.id(row) for row in range(3)] == ["лицо.png", "顔.png", "\\udcff.png"]


def test_rows_out_of_order_are_put_split_by_split(tmp_path):
    mixed = [*rows([0], split="test"), *rows([1, 2], split="train"), *rows([3], split="validation"), *rows([4], split="train")]
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, mixed), 48, 1)
    faces = open_pack(tmp_path / "pack")
    assert [faces.id(row) for row in range(5)] == ["face 1", "face 2", "face 4", "face 3", "face 0"]
    assert faces.splits.tolist() == [1, 1, 1, 2, 3]
    assert faces.classes.tolist() == [1, 2, 4, 3, 0]
    assert np.array_equal(faces.images, [image(number) for number in (1, 2, 4, 3, 0)])
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def with_votes(made):
    """Give every second row votes, all of them for another label."""
    for number, row in enumerate(made):
        yield row if number % 2 else replace(row, votes=np.eye(7, dtype=np.float32)[(row.target + 1) % 7])


@pytest.mark.parametrize("size", [48, 45])
def test_votes_come_back_and_rows_without_have_zeros(size, tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, with_votes(rows(range(70), size))), size, 1)
    faces = open_pack(tmp_path / "pack")
    assert faces.votes.dtype == np.float32
    assert faces.votes.argmax(axis=1)[::2].tolist() == [(number + 1) % 7 for number in range(0, 70, 2)]
    assert faces.votes.sum(axis=1).tolist() == [1, 0] * 35
    assert faces.classes.tolist() == [number % 7 for number in range(70)]
    assert (faces.id(69), faces.origin.kind) == ("face 69", "test faces")


def test_votes_are_put_split_by_split_with_their_rows(tmp_path):
    mixed = [*rows([0], split="test"), *rows([1, 2], split="train"), *rows([3], split="validation"), *rows([4], split="train")]
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, with_votes(mixed)), 48, 1)
    faces = open_pack(tmp_path / "pack")
    assert [faces.id(row) for row in range(5)] == ["face 1", "face 2", "face 4", "face 3", "face 0"]
    assert [votes.tolist().index(1) if votes.any() else None for votes in faces.votes] == [None, 3, 5, None, 1]


def test_a_pack_read_anew_has_its_votes(tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, with_votes(rows(range(9)))), 48, 1)
    write_pack(tmp_path / "smaller", read(open_tree(tmp_path / "pack")), 24, 1)
    assert np.array_equal(open_pack(tmp_path / "smaller").votes, open_pack(tmp_path / "pack").votes)


def test_a_pack_remembers_the_height_and_width_of_every_image_in_the_order_of_its_rows(tmp_path):
    shapes = [(48, 48), (96, 60), (20, 30, 3), (300, 200), (7, 9)]

    def load(shape):
        return np.full(shape, 77, dtype=np.uint8)

    marked = [
        Row(str(number), "test" if number % 2 else "train", number, partial(load, shape)) for number, shape in enumerate(shapes)
    ]
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, marked), 48, 1)
    faces = open_pack(tmp_path / "pack")
    assert {faces.id(row): tuple(faces.sizes[row].tolist()) for row in range(5)} == {
        str(number): shape[:2] for number, shape in enumerate(shapes)
    }
    assert faces.split("test").sizes.tolist() == [[96, 60], [300, 200]]
    write_pack(tmp_path / "smaller", read(open_tree(tmp_path / "pack")), 24, 1)
    assert np.array_equal(open_pack(tmp_path / "smaller").sizes, faces.sizes)


def test_an_older_pack_without_sizes_opens(tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, rows(range(3))), 48, 1)
    data = re.sub(rb', "mien.checksum": "\w{8}"', lambda found: b" " * len(found[0]), (tmp_path / "pack").read_bytes())
    (tmp_path / "pack").write_bytes(data.replace(b'"sizes"', b'"other"'))
    assert open_pack(tmp_path / "pack").sizes is None
    write_pack(tmp_path / "smaller", read(open_tree(tmp_path / "pack")), 24, 1)
    assert open_pack(tmp_path / "smaller").sizes.tolist() == [[48, 48]] * 3


def test_sizes_leave_the_fingerprint_as_it_is(tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, rows(range(3))), 48, 1)
    faces = open_pack(tmp_path / "pack")
    assert replace(faces, sizes=None).fingerprint() == faces.fingerprint()
    with pytest.raises(MienError, match=r"3 images need as many sizes, height and width, not \(2, 2\)"):
        replace(faces, sizes=faces.sizes[:2])


def test_a_pack_without_votes_holds_what_packs_always_held_and_sizes(tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, rows(range(3))), 48, 1)
    header, start = read_header(tmp_path / "pack")
    assert list(header) == ["__metadata__", "images", "targets", "sizes", "splits", "ids", "skipped"]
    assert (header["__metadata__"]["mien.format"], start) == ("1", 4096)
    assert open_pack(tmp_path / "pack").votes is None


@pytest.mark.parametrize("marked", [lambda made: made, with_votes], ids=["without votes", "with votes"])
def test_memory_stays_flat_however_many_rows_there_are(marked, tmp_path):
    face = image(0)
    many = marked(Row(str(number), "train", 0, lambda: face.copy()) for number in range(4000))  # 9.2 MB of pixels
    tracemalloc.start()
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, many), 48, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_threads_keep_the_order_and_do_not_run_far_ahead():
    taken = []

    def slow_rows():
        for number in count():
            taken.append(number)
            yield Row(str(number), "train", 0, lambda number=number: (sleep(0.001 * (number % 3)), image(number))[1])

    found = in_threads(partial(_decode, size=48, channels=1, crop=None), slow_rows(), 32)
    for number in range(100):
        row, face, size = next(found)
        assert row.id == str(number)
        assert np.array_equal(face, image(number))
        assert size == image(number).shape
    found.close()
    assert len(taken) < 2000


def test_a_reader_that_breaks_off_leaves_no_file(tmp_path):
    def broken():
        yield from rows(range(300))
        raise MienError("the archive is damaged")

    with pytest.raises(MienError, match="the archive is damaged"):
        write_pack(tmp_path / "pack", Rows("test faces", FER2013, broken()), 48, 1)
    assert list(tmp_path.iterdir()) == []


def test_an_old_pack_stays_when_a_new_one_fails(tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, rows(range(3))), 48, 1)
    with pytest.raises(MienError):
        write_pack(tmp_path / "pack", Rows("test faces", FER2013, [*rows([1]), BadRow("x", "bad")]), 48, 1)
    assert len(open_pack(tmp_path / "pack")) == 3


def test_what_is_no_pack_is_refused(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"weights": np.zeros(3)}, tmp_path / "weights")
    (tmp_path / "text").write_text("emotion,pixels,Usage\n")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("weights", "text", "empty"):
        assert pack_stamp(tmp_path / name) is None
        with pytest.raises(MienError, match="is not a pack of labelled faces, or it is damaged"):
            open_pack(tmp_path / name)
    with pytest.raises(MienError, match="Cannot open"):
        open_pack(tmp_path / "missing")


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_pack_cut_short_is_refused(cut, tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, rows(range(3))), 48, 1, stamp="abc")
    assert pack_stamp(tmp_path / "pack") == "abc"
    (tmp_path / "pack").write_bytes((tmp_path / "pack").read_bytes()[:-cut])
    with pytest.raises(MienError, match="cut short"):
        open_pack(tmp_path / "pack")


def test_a_pack_of_another_format_is_refused(tmp_path):
    write_pack(tmp_path / "pack", Rows("test faces", FER2013, rows(range(3))), 48, 1)
    data = (tmp_path / "pack").read_bytes()
    (tmp_path / "pack").write_bytes(data.replace(b'"mien.format": "1"', b'"mien.format": "9"'))
    with pytest.raises(MienError, match="its format is 9, not 1"):
        open_pack(tmp_path / "pack")
