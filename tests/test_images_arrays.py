"""Arrays: what is inferred about their scale and axes is noted, and what is ambiguous is an error that says what to write."""

import re

import numpy as np
import pytest

import mien
from mien.errors import MienError
from mien.images import read_image, read_with_note
from reading import frames

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))  # (48, 64) gray, dark at the left
COLOUR = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


@pytest.mark.parametrize("array", [RAMP, RAMP[:, :, None], COLOUR, RAMP > 99, COLOUR[::2, ::-1], np.ma.masked_array(RAMP)])
def test_nothing_is_noted_where_nothing_is_inferred(array):
    pixels, note = read_with_note(array)
    assert (pixels.dtype, note) == (np.uint8, "")
    (frame,) = frames(array)
    assert frame.note == ""


@pytest.mark.parametrize("image", [RAMP, COLOUR])
@pytest.mark.parametrize(
    ("convert", "scale"),
    [
        (lambda image: image / 255, "float64 values from 0 to 0.988 read as 0 to 1"),
        (lambda image: (image / 255).astype(np.float32), "float32 values from 0 to 0.988 read as 0 to 1"),
        (lambda image: (image / 255).astype(np.float16), "float16 values from 0 to 0.988 read as 0 to 1"),
        (lambda image: (image / 255).astype(">f4"), ">f4 values from 0 to 0.988 read as 0 to 1"),
        (lambda image: image.astype(float), "float64 values from 0 to 252 read as 0 to 255"),
        (lambda image: image.astype(np.float16), "float16 values from 0 to 252 read as 0 to 255"),
        (lambda image: image * 257.0, "float64 values from 0 to 6.48e+04 read as 0 to 65535"),
        (lambda image: image.astype(np.int16), "int16 values from 0 to 252 read as 0 to 255"),
        (lambda image: image.astype(np.int32), "int32 values from 0 to 252 read as 0 to 255"),
        (lambda image: image.astype(np.int64), "int64 values from 0 to 252 read as 0 to 255"),
        (lambda image: image.astype(np.uint32), "uint32 values from 0 to 252 read as 0 to 255"),
        (lambda image: image.astype(np.uint16), "uint16 values from 0 to 252 read as 0 to 255"),
        (lambda image: image.astype(np.uint16) * 257, "uint16 values from 0 to 6.48e+04 read as 0 to 65535"),
        (lambda image: image.astype(">u2") * np.array(257, ">u2"), "uint16 values from 0 to 6.48e+04 read as 0 to 65535"),
    ],
)
def test_an_inferred_scale_is_noted(image, convert, scale):
    pixels, note = read_with_note(convert(image))
    assert note == scale
    assert np.abs(pixels.astype(int) - image).max() <= 1


@pytest.mark.parametrize("full", [1, 255, 65535])
def test_what_resizing_adds_beyond_the_scale_is_clipped(full):
    values = RAMP / 252 * full
    wide = values * 1.07 - 0.03 * full  # from -0.03 to 1.04 of the scale
    pixels, note = read_with_note(wide)
    assert note.endswith(f"read as 0 to {full}")
    assert np.abs(pixels - np.clip(wide / full * 255, 0, 255)).max() <= 0.51
    assert (pixels[:, 0].max(), pixels[:, -1].min()) == (0, 255)


@pytest.mark.parametrize(
    ("high", "low"),
    [
        *(
            (1.06, 0),
            (1.3, 0),
            (2.5, 0),
            (15.9, 0),
            (270, 0),
            (1000, 0),
            (4000, 0),
            (70000, 0),
            (1, -0.06),
            (2.6, -2.1),
            (255, -20),
        ),
        *((float("nan"), 0), (float("inf"), 0), (0.5, -float("inf"))),
    ],
)
def test_a_float_scale_that_may_be_another_is_refused(high, low):
    with pytest.raises(MienError, match=r"has values from .* to .*; scale them to 0 to 1 or 0 to 255 or 0 to 65535\.$"):
        read_image(np.array([[low, high], [high, low]], float))


@pytest.mark.parametrize(("kind", "high", "says"), [(np.uint16, 1023, "0 to 255 or 0 to 65535"), (np.int32, 256, "0 to 255")])
def test_an_integer_scale_that_may_be_another_is_refused(kind, high, says):
    with pytest.raises(MienError, match=f"scale them to {says}\\.$"):
        read_image(np.full((4, 4), high, kind))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.float32, bool])
def test_black_is_black(kind):
    assert (read_image(np.zeros((4, 5), kind)) == np.zeros((4, 5), np.uint8)).all()


@pytest.mark.parametrize("array", [np.full((4, 4), 1j), np.full((4, 4), "a"), np.full((4, 4), None), np.zeros((4, 4), "M8[s]"),
                                   np.zeros((4, 4), [("r", "u1")]), np.zeros((4, 4), "V3")])  # fmt: skip
def test_what_holds_no_numbers_is_refused(array):
    with pytest.raises(MienError, match="must hold numbers, not "):
        read_image(array)


def test_two_channels_are_gray_with_alpha_and_noted():
    array = np.stack([np.zeros_like(RAMP), np.full_like(RAMP, 255)], axis=2)
    array[:, :32, 1] = 0
    for pixels, note in (read_with_note(array), read_with_note(array / 255)):
        assert (pixels[:, :32] == 255).all()
        assert (pixels[:, 32:] == 0).all()
        assert pixels.ndim == 2
        assert note.startswith("two channels read as gray with alpha")
    (frame,) = frames(array)
    assert frame.note == "two channels read as gray with alpha"


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((3, 20, 30), "write array.transpose(1, 2, 0) if its channels come first, or list(array) if it holds several images."),
        ((2, 3, 20, 30), "write array.transpose(0, 2, 3, 1) if its channels come first, or list(array) if it holds several"),
        ((2, 1, 20, 30), "write array.transpose(0, 2, 3, 1) if its channels come first"),
        ((2, 2, 20, 30, 3), "write list(array) if it holds several images."),
        ((7,), "not (7,)."),
        ((), "not ()."),
        ((0, 30), "with pixels in it, not (0, 30)."),
        ((20, 0, 3), "with pixels in it, not (20, 0, 3)"),
    ],
)
def test_axes_that_are_those_of_no_image_say_what_to_write(shape, says):
    with pytest.raises(MienError, match=re.escape(says)):
        read_image(np.zeros(shape, np.uint8))
    for source in (np.zeros(shape, np.uint8), [np.zeros(shape, np.uint8)]):
        (frame,) = frames(source)
        assert says in frame.error


def test_what_the_sentence_says_to_write_works():
    first = np.ascontiguousarray(COLOUR.transpose(2, 0, 1))
    (frame,) = frames(first.transpose(1, 2, 0))
    assert np.array_equal(frame.image, COLOUR)
    batch = np.stack([first] * 2)
    assert [np.array_equal(frame.image, COLOUR) for frame in frames(batch.transpose(0, 2, 3, 1))] == [True, True]
    assert len(list(frames(list(np.stack([RAMP] * 3))))) == 3


def test_several_gray_images_in_an_array_are_noted():
    found = list(frames(np.stack([RAMP] * 5)))
    assert [(frame.source, frame.note) for frame in found] == [
        (f"image {number}", "one of the gray images of an array (5, 48, 64)") for number in range(5)
    ]
    for channels in (1, 2, 3, 4):
        assert len(list(frames(np.full((5, 48, 64, channels), 90, np.uint8)))) == 5
    assert (
        frames(np.stack([RAMP / 255] * 2))
        .__next__()
        .note.endswith("(2, 48, 64), float64 values from 0 to 0.988 read as 0 to 1")
    )


def test_the_note_is_in_the_row(tmp_path):
    (row,) = mien.predict(RAMP / 255)
    assert row.to_dict() == {"source": "image 0", "no_face": True, "note": "float64 values from 0 to 0.988 read as 0 to 1"}
