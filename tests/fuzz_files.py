"""Files of eight formats for fuzz.py to mutate: a function of each yields their names and contents."""

import csv
import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def helpers():
    """Load the test helpers that write models and videos."""
    spec = importlib.util.spec_from_file_location("inference_helpers", Path(__file__).parent / "inference" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pictures(folder):
    """Write a picture in every format that Pillow writes, and in the variants that cameras and editors write."""
    from mien.images import IMAGE_SUFFIXES

    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    noise = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    image, exif = Image.fromarray(np.stack([ramp, ramp[:, ::-1], noise], 2)), Image.Exif()
    exif[274] = 6
    more = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    modes = {".pgm": "L", ".pbm": "1"}
    kinds = [(suffix, image.convert(modes.get(suffix, "RGB")), {}) for suffix in sorted(IMAGE_SUFFIXES)]
    kinds += [(".jpg", image, {"progressive": True, "exif": exif}), (".jpg", image.convert("CMYK"), {})]
    kinds += [(".jpg", image.convert("L"), {}), (".png", image.quantize(16), {}), (".png", image.convert("I;16"), {})]
    kinds += [(".png", image.convert("RGBA"), {"exif": exif}), (".webp", image, {"lossless": True})]
    kinds += [(".tif", image, {"compression": kind}) for kind in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    kinds += [(".tif", image.convert(mode), {}) for mode in ("F", "CMYK", "LAB", "I;16")]
    kinds += [(suffix, image, more) for suffix in (".gif", ".png", ".webp", ".tif", ".avif")]
    kinds += [(".tga", image, {"compression": "tga_rle"}), (".bmp", image.quantize(16), {})]
    for suffix, converted, options in kinds:
        form = Image.registered_extensions().get(suffix)
        if form in Image.SAVE:
            buffer = io.BytesIO()
            converted.save(buffer, form, **options)
            yield f"picture{suffix}", buffer.getvalue()


def videos(folder):
    """Write a short video in the containers and codecs of cameras."""
    kinds = [(".mp4", "libx264", {}), (".mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}), (".mkv", "libx264", {})]
    kinds += [
        (".mov", "mpeg4", {"movflags": "faststart"}),
        (".avi", "mjpeg", {}),
        (".webm", "libvpx", {}),
        (".ts", "libx264", {}),
    ]
    kinds += [(".flv", "libx264", {}), (".wmv", "wmv2", {}), (".mpg", "mpeg2video", {}), (".avi", "mpeg4", {})]
    write_video = helpers().write_video
    for suffix, codec, options in kinds:
        path = write_video(folder / f"video{suffix}", count=12, rate=25, size=(48, 32), codec=codec, **options)
        yield path.name, path.read_bytes()


def archives(folder):
    """Pack pictures and a list as zip (stored, deflated, with bzip2 and lzma) and tar."""
    members = [(f"{('happy', 'sad')[n % 2]}/{name}", content) for n, (name, content) in enumerate(pictures(folder)) if n < 6]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in members:
                archive.writestr(name, content)
        yield "photos.zip", buffer.getvalue()
    for mode in ("w", "w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            for name, content in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        yield "photos.tar.gz" if "gz" in mode else "photos.tar", buffer.getvalue()


def fer_rows(count=8):
    random = np.random.default_rng(0)
    for row in range(count):
        usage = ("Training", "PublicTest", "PrivateTest")[row % 3]
        yield row % 7, random.integers(0, 256, (48, 48)).astype(np.uint8), usage


def csv_tables(folder):
    """Write faces as in fer2013.csv, as a manifest of pictures, as votes, and as a list without a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["emotion", "pixels", "Usage"])
    writer.writerows([label, " ".join(map(str, pixels.ravel())), usage] for label, pixels, usage in fer_rows())
    yield "fer2013.csv", text.getvalue().encode()
    for label, pixels, _ in fer_rows(4):
        Image.fromarray(pixels).save(folder / f"{label}.png")
    names = ("angry", "disgust", "fear", "happy")
    yield "manifest.csv", b"path,label,split\n" + "".join(f"{n}.png,{name},train\n" for n, name in enumerate(names)).encode()
    yield "votes.csv", b"path,angry,happy,sad\n0.png,3,2,5\n1.png,0,9,1\n2.png,1,1,8\n"
    yield "list.txt", "".join(f"{n}.png {n}\n" for n in range(4)).encode()


def parquet_tables(folder):
    """Write faces as Parquet, with two compressions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"image": [], "label": [], "usage": []}
    for label, pixels, usage in fer_rows():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        for name, value in zip(columns, (buffer.getvalue(), label, usage), strict=True):
            columns[name].append(value)
    for compression in ("none", "zstd"):
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression=compression)
        yield "faces.parquet", buffer.getvalue()


def models(folder):
    """Write two small graphs of the tests, and take the embedded int8 model."""
    from mien.inference.classifier import MODELS

    build = helpers().build_model
    for name, options in (("one", {}), ("two", {"crowd": True})):
        yield f"{name}.onnx", build(folder / f"{name}.onnx", **options).read_bytes()
    yield "mien-s-int8.onnx", (MODELS / "mien-s-int8.onnx").read_bytes()


def recipes(folder):
    """Take recipes of the package, and write one with every field."""
    import mien

    for path in sorted(Path(mien.__file__).parent.joinpath("recipes").glob("*.yaml"))[:4]:
        yield path.name, path.read_bytes()
    yield "full.yaml", mien.load_recipe("mien-s").to_yaml().encode()


def reports(folder):
    """Write the metrics.json of an evaluation, and a comparison."""
    import mien

    mien.evaluate(helpers().build_model(folder / "m.onnx"), mien.draw_faces(4, size=48), folder / "report", quiet=True)
    yield "metrics.json", (folder / "report" / "metrics.json").read_bytes()
    yield "comparison.json", mien.compare([folder / "report"], format="json").encode()


SOURCES = {
    "pictures": pictures,
    "videos": videos,
    "archives": archives,
    "csv": csv_tables,
    "parquet": parquet_tables,
    "onnx": models,
    "yaml": recipes,
    "json": reports,
}
