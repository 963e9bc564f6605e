"""Mutated images and videos, as broken disks and transfers leave them: each gives rows, and nothing ends the run."""

import io

import numpy as np
import pytest
from PIL import Image

import mien
from mien.images import IMAGE_SUFFIXES

IMAGES, VIDEOS = 1_000, 200
QUICK = 100
"""Mutations of both kinds in the quick tests; the slow ones have all."""


def picture():
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    return Image.fromarray(
        np.stack([ramp, ramp[:, ::-1], np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)], 2)
    )


def originals():
    """A file in every format of the image suffixes that Pillow writes, and in the variants that cameras and editors write."""
    image, exif = picture(), Image.Exif()
    exif[274] = 6
    more = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    kinds = [
        (suffix, image.convert("L" if suffix == ".pgm" else "1" if suffix == ".pbm" else "RGB"), {})
        for suffix in sorted(IMAGE_SUFFIXES)
    ]
    kinds += [
        (".jpg", image, {"progressive": True, "exif": exif}),
        (".jpg", image.convert("CMYK"), {}),
        (".jpg", image.convert("L"), {}),
    ]
    kinds += [
        (".png", image.quantize(16), {}),
        (".png", image.convert("RGBA"), {"exif": exif}),
        (".png", image.convert("I;16"), {}),
    ]
    kinds += [
        (".tif", image, {"compression": kind})
        for kind in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits", "tiff_adobe_deflate")
    ]
    kinds += [(".tif", image.convert(mode), {}) for mode in ("F", "CMYK", "LAB", "I;16")]
    kinds += [(suffix, image, more) for suffix in (".gif", ".png", ".webp", ".tif", ".avif")]
    kinds += [
        (".webp", image, {"lossless": True}),
        (".tga", image, {"compression": "tga_rle"}),
        (".bmp", image.quantize(16), {}),
    ]
    for suffix, converted, options in kinds:
        form = Image.registered_extensions().get(suffix)
        if form in Image.SAVE:
            buffer = io.BytesIO()
            converted.save(buffer, form, **options)
            yield suffix, buffer.getvalue()


def mutate(content, others, random):
    """Change a file in one of the ways in which files break."""
    data = bytearray(content)
    way, size = random.integers(9), len(data)
    start = int(random.integers(size))
    if way == 0:  # bits flip
        for place in random.integers(size, size=random.integers(1, 12)):
            data[place] ^= 1 << int(random.integers(8))
    elif way == 1:  # bits flip in the header
        for place in random.integers(min(size, 128), size=random.integers(1, 6)):
            data[place] ^= 1 << int(random.integers(8))
    elif way == 2:  # cut off
        del data[start:]
    elif way == 3:  # a block is missing
        del data[start : start + int(random.integers(1, 64))]
    elif way == 4:  # a block of zeros
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    elif way == 5:  # a block of something else
        data[start : start + 64] = random.bytes(64)
    elif way == 6:  # continued by another file
        other = others[int(random.integers(len(others)))]
        data[start:] = other[int(random.integers(len(other))) :]
    elif way == 7:  # largest or odd numbers in the header
        place = int(random.integers(min(size, 64)))
        data[place : place + 4] = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f")[
            random.integers(4)
        ]
    else:  # a part twice
        data[start:start] = data[: int(random.integers(1, 512))]
    return bytes(data)


def mutations(files, count, seed):
    random = np.random.default_rng(seed)
    others = [content for _, content in files]
    for number in range(count):
        suffix, content = files[number % len(files)]
        yield suffix, mutate(content, others, random)


def check_rows(folder, contents, model, capfd):
    """Write the files, and predict them by path, as bytes and on the command line."""
    paths = []
    for number, (suffix, content) in enumerate(contents):
        paths.append(folder / f"{number}{suffix}")
        paths[-1].write_bytes(content)
    sources = [str(path) for path in paths]
    for given in (sources, [path.read_bytes() for path in paths]):
        rows = list(mien.predict(given, model, faces=True))
        found = list(dict.fromkeys(row.source for row in rows))
        names = sources if given is sources else [f"image {number}" for number in range(len(paths))]
        assert [name.partition(".zip/")[0] for name in found] == names
        assert all(row.error or row.label for row in rows)
        assert not any("Traceback" in row.error or "\n" in row.error for row in rows)
    return rows


FILES = list(originals())


def test_a_hundred_mutated_images_are_a_row_each(tmp_path, model, capfd):
    rows = check_rows(tmp_path, mutations(FILES, QUICK, 1), model, capfd)
    assert 10 < sum(bool(row.error) for row in rows) < QUICK


@pytest.mark.slow
def test_a_thousand_mutated_images_are_a_row_each(tmp_path, model, capfd):
    rows = check_rows(tmp_path, mutations(FILES, IMAGES, 2), model, capfd)
    assert len(rows) >= IMAGES


def videos(folder, write_video):
    kinds = [(".mp4", "libx264", {}), (".mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}), (".mkv", "libx264", {})]
    kinds += [
        (".mov", "mpeg4", {"movflags": "faststart"}),
        (".avi", "mjpeg", {}),
        (".webm", "libvpx", {}),
        (".ts", "libx264", {}),
    ]
    kinds += [(".flv", "libx264", {}), (".wmv", "wmv2", {}), (".mpg", "mpeg2video", {}), (".avi", "mpeg4", {})]
    for suffix, codec, options in kinds:
        path = write_video(folder / f"original{suffix}", count=12, rate=25, size=(48, 32), codec=codec, **options)
        yield suffix, path.read_bytes()


def test_twenty_mutated_videos_give_rows(tmp_path, model, write_video, capfd):
    files = list(videos(tmp_path, write_video))
    rows = check_rows(tmp_path, mutations(files, QUICK // 5, 3), model, capfd)
    assert sum(row.label is not None for row in rows) > 20


@pytest.mark.slow
def test_two_hundred_mutated_videos_give_rows(tmp_path, model, write_video, capfd):
    files = list(videos(tmp_path, write_video))
    check_rows(tmp_path, mutations(files, VIDEOS, 4), model, capfd)
