"""Hundreds of mistakes on the command line: each exits with 2, one sentence names it, and nothing is written."""

import shlex
import shutil
from itertools import groupby
from pathlib import Path

import pytest
from PIL import Image

import mien
from mien.cli import main
from mien.drawn import draw_face, write_folder

LINES = [line for line in (Path(__file__).with_name("mistakes.txt")).read_text().splitlines() if not line.startswith("#")]
BY_VERB = {verb: list(lines) for verb, lines in groupby(sorted(LINES), key=lambda line: line.split()[0])}
VERBS = [verb for verb in BY_VERB if len(BY_VERB[verb]) > 3]


@pytest.fixture(scope="module")
def places(tmp_path_factory, faces, run):
    """Files and folders of every kind that a user may name by mistake."""
    root = tmp_path_factory.mktemp("places")
    face = Image.fromarray(draw_face("happy", 1, 96))
    face.save(root / "photo.png")
    face.save(root / "jpgcsv.csv", "JPEG")
    contents = {
        **{
            "textjpg.jpg": b"not an image",
            "empty.jpg": b"",
            "badzip.zip": b"PK\3\4 no zip",
            "badonnx.onnx": b"\x08\x07garbage",
        },
        **{
            "badcsv.csv": b"a,b\n1,2\n",
            "badyaml.yaml": b"epochs: [1\n",
            "listyaml.yaml": b"- epochs\n",
            "badpack.pack": b"x" * 100,
        },
        **{"tabyaml.yaml": b"epochs:\t\t- 1\n\tx: 2", "unknownkey.yaml": b"epoch: 3\n", "wrongtype.yaml": b"epochs: many\n"},
        **{"badjson.json": b"{", "emptyjson.json": b"[]", "folder/letter.txt": b"mine"},
    }
    for name in ("folder", "emptyfolder", "onelabel/happy"):
        (root / name).mkdir(parents=True)
    for name, content in contents.items():
        (root / name).write_bytes(content)
    face.save(root / "onelabel" / "happy" / "1.png")
    write_folder(2, root / "flat", size=48, test=0)
    rows = [f"{path},{path.parent.name},old" for path in sorted((root / "flat").rglob("*.png"))]
    (root / "manifest.csv").write_text("\n".join(["path,label,age_group", *rows, ""]))
    shutil.copytree(run, root / "run")
    places = {path.stem: path for path in root.iterdir()}
    yunet = Path(mien.__file__).parent / "models" / "detectors" / "yunet.onnx"
    return {
        **places,
        "faces": faces,
        "yunet": yunet,
        "model": root / "run" / "model.onnx",
        "nowhere": root / "nowhere",
        "": root,
    }


def files(*folders):
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


def test_there_are_hundreds_of_mistakes_over_all_verbs():
    assert len(set(LINES)) > 300
    assert set(VERBS) >= {
        "train",
        "evaluate",
        "predict",
        "crop",
        "explain",
        "audit",
        "compare",
        "quantize",
        "recipes",
        "push",
        "demo",
    }


SLOW = pytest.param("train", marks=pytest.mark.slow)  # a parser with all settings of a recipe takes 0.3 s


@pytest.mark.parametrize("verb", [SLOW, *(verb for verb in VERBS if verb != "train"), "other"])
def test_a_mistake_exits_with_2_and_one_sentence_and_writes_nothing(verb, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before, wrong = files(places[""], places["faces"], tmp_path), []
    capsys.readouterr()
    for line in BY_VERB.get(verb) or [line for each, lines in BY_VERB.items() if each not in VERBS for line in lines]:
        typed, _, part = line.partition(" => ")
        for name, path in places.items():
            typed = typed.replace(f"{{{name}}}", str(path))
        status = main(shlex.split(typed))
        out, err = capsys.readouterr()
        sentences = [text for text in err.splitlines() if text.startswith("mien: ")]
        told = [status == 2, not out, len(sentences) == 1, part in err, "Traceback" not in err, "<class" not in err]
        if not all(told) or files(places[""], places["faces"], tmp_path) != before:
            wrong.append((line, status, out, err))
            before = files(places[""], places["faces"], tmp_path)
    assert wrong == []
