"""What the command line answers to mistakes, signals and accidents."""

import errno
import json
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

import mien
from mien.cli import main
from mien.inference.classifier import Classifier
from mien.training import loop
from mien.training.recipe import load_recipe


def complaint(capsys, words: list[str]) -> str:
    """Run a mistake: it must exit with 2, say one sentence and nothing else."""
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("mien: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "no verb 'trian'; did you mean train"),
        (["--verison"], "did you mean --version"),
        (["predict", "x.jpg", "--forma", "json"], "Did you mean --format?"),
        (["predict", "{faces}", "--font", "x.ttf"], "add --draw DIR, or leave out --font"),
        (
            ["evaluate", "{run}", "--data", "{faces}", "--out", "y", "--labels", '{{"sad": ["angry", "fear"]}}'],
            "The merged label 'sad' has the name of a label that stays; add it to its members",
        ),
        (["{faces}"], "did you mean mien predict /"),
        (["train"], "which recipe"),
        (["train", "mien-z", "--data", "x", "--out", "y"], "no recipe 'mien-z'; did you mean mien-s"),
        (["train", "mien-s", "--data", "x"], "missing: --out"),
        (["train", "mien-s", "--out", "y"], "missing: --data."),
        (["train", "mien-s", "--data", "/nowhere/faces", "--out", "y"], "/nowhere/faces"),
        (["train", "mien-s", "--data", "x", "--out", "y", "--recipe.epoch", "3"], "Did you mean --recipe.epochs"),
        (["predict", "x.jpg", "--device", "cuda"], "predictions use an NVIDIA GPU where onnxruntime-gpu is installed. `mien"),
        (
            ["train", "mien-s", "--data", "x", "--out", "y", "--recipe.epochs", "few"],
            "--recipe.epochs: expected a whole number, not few",
        ),
        (["train", "mien-s", "--data", "x", "--out", "y", "--recipe.dropout", "2"], "dropout must be a share"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.network", "wide_cn"], "did you mean wide_cnn"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.keep", '["happy"]'], "at least two labels"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.keep", '["happy", "sat"]'], "Did you mean 'sad'"),
        (
            ["train", "deepface-6", "--data", "{faces}", "--out", "y", "--recipe.keep", '["happy", "glee"]'],
            "with --labels, --recipe.keep and --recipe.merge",
        ),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.weights", "hub"], "not for compact_resnet"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.weights", "model.pth"], "a .safetensors file"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.head_epochs", "-1"], "head_epochs must be 0 or more"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.enlarge_to", "9"], "enlarge_to must be at least"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.optimizer.backbone_rate", "0"], "must be above 0"),
        (
            ["train", "mien-s", "--data", "{faces}", "--out", "y", "--device", "warp"],
            "no device 'warp' here; use auto or one of cpu",
        ),
        (["train", "mien-s", "--data", "{faces}", "--out", "{run}"], "exists; choose another --out, or add --resume"),
        (["train", "mien-s", "--data", "{faces}", "--out", "{faces}"], "exists; choose another --out."),
        (["train", "mien-s", "--data", "x", "--out", "y", "--recipe.keep", "happy"], "--recipe.keep: expected"),
        (["train", "mien-s", "--data", "x", "--out", "y", "--recipe.optimizer.name", "sdg"], "not sdg; did you mean sgd"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--threads", "0"], "threads must be at least 1"),
        (["train", "mien-s", "{faces}", "--out", "y"], "Every argument but the first has a name"),
        (["train", "{run}/recipe.yaml", "--data", "{faces}", "--out", "{run}"], "exists; choose another --out"),
        (["evaluate", "--data", "{faces}", "--out", "y"], "missing: MODEL"),
        (["evaluate", "mien-q", "--data", "{faces}", "--out", "y"], "mien-q"),
        (["evaluate", "{run}", "--data", "{faces}", "--out", "y", "--split", "exam"], "exam"),
        (["evaluate", "{run}", "--data", "{faces}", "--out", "{faces}"], "faces"),
        (["predict"], "missing: SOURCE"),
        (["predict", "{run}/model.onx"], "Did you mean"),
        (["predict", "/nowhere/photo.jpg", "/nowhere/*.png"], "nothing at '/nowhere/photo.jpg'"),
        (["predict", "{faces}", "--model", "{run}/recipe.yaml"], "recipe.yaml"),
        (["predict", "{faces}", "--detector", "/nowhere/yunet.onnx"], "/nowhere/yunet.onnx"),
        (["recipes", "mien-z"], "mien-s"),
        (["compare"], "missing: RUN"),
        (["compare", "{faces}"], "not the folder of a finished run"),
        (["compare", "{run}", "--format", "xml"], "no format 'xml'"),
        (["train", "mien-s", "--data", "", "--out", "y"], "--data is empty"),
        (["train", "mien-s", "--data=", "--out", "y"], "--data is empty"),
        (["evaluate", "", "--data", "{faces}", "--out", "y"], "MODEL is empty"),
        (["evaluate", "{run}", "--data", "{faces}", "--out", "{faces}/train/report"], "would count as a label"),
        (["audit", "--data", "{faces}", "--out", "{faces}/audit"], "would count as a label"),
        (["train", "mien-s", "--data", "{faces}", "--out", "{faces}/run"], "would count as a label"),
        (["train", "mien-s", "--data", "{faces}", "--out", "/proc/run", "--recipe.epochs", "1"], "/proc/run"),
        (["compare", "{run}", "--out", "/proc/compared.html"], "/proc"),
        (["quantize", "{run}", "--data", "{faces}", "--out", "{run}/model.onnx/int8.onnx"], "choose another path"),
        (["predict", "{faces}", "--out", "a" * 300 + ".csv"], "File name too long"),
        (["predict", "a" * 300], "aaa"),
        (["evaluate", "{run}", "--data", "{faces}", "--out", "a" * 300], "aaa"),
        (["explain", "{faces}", "--out", "/dev/stdout"], "name one with --out"),
        (["recipes", "mien-s", "extra"], "unrecognized arguments: extra. `mien recipes"),
        (["train", "mien-s", "--data", "{faces}", "--out", "y", "--resume", "maybe"], "--resume takes no value."),
        (["predict", "{faces}", "--trak"], "Did you mean --track? `mien"),
        (
            ["train", "mien-s", "--data", "{faces}", "--out", "y", "--recipe.own_validation", "false", "--recipe.carve", "9"],
            "carve",
        ),
    ],
)
def test_a_mistake_is_answered_with_one_sentence_and_leaves_nothing(words, sentence, faces, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sentence in complaint(capsys, [word.format(faces=faces, run=run) for word in words])
    assert list(tmp_path.iterdir()) == []


def test_bad_images_are_named_and_can_be_skipped(faces, tmp_path, capsys, quick):
    mine = tmp_path / "mine"
    shutil.copytree(faces, mine)
    bad = sorted((mine / "train" / "happy").iterdir())[0]
    bad.write_text("not an image")
    words = ["train", "mien-s", "--data", str(mine), "--out", str(tmp_path / "run"), *quick]
    assert bad.name in complaint(capsys, words)
    assert not (tmp_path / "run").exists()
    assert main([*words, "--data.skip_bad"]) == 0
    assert bad.name in (tmp_path / "run" / "skipped.txt").read_text()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_says_how_to_go_on(faces, tmp_path, signal_number):
    words = [
        "train",
        "mien-s",
        "--data",
        str(faces),
        "--out",
        str(tmp_path / "run"),
        "--recipe.epochs",
        "5000",
        "--threads",
        "1",
    ]
    command = [sys.executable, "-m", "mien.cli", *words, "--recipe.batch_size", "16"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if line.startswith("epoch   2"))
        process.send_signal(signal_number)
        last = process.stderr.read().splitlines()[-1]
    assert process.returncode == 130
    assert last == "mien: stopped (the same command with --resume continues)"
    assert not (tmp_path / "run" / "model.onnx").exists()


def test_labels_are_merged_on_the_way_to_a_model_and_to_its_report(faces, tmp_path, quick):
    merge = ["--recipe.merge", "{negative: [angry, disgust, fear, sad]}"]
    assert main(["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *quick, *merge]) == 0
    assert Classifier(tmp_path / "run").labels.names == ("negative", "happy", "surprise", "neutral")
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(faces), "--out", str(tmp_path / "report")]) == 0
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["all_rows"]["n"] == 14


def test_going_on_with_another_recipe_says_what_differs(run, faces, capsys):
    words = ["train", "mien-s", "--data", str(faces), "--out", str(run), "--resume", "--recipe.epochs", "2"]
    assert "its epochs is 1, not 2" in complaint(capsys, [*words, "--recipe.batch_size", "16"])


def test_a_full_disk_is_said_and_the_run_goes_on_afterwards(faces, run, tmp_path, monkeypatch, capsys, quick):
    real, writes = loop.write_whole, []

    def full_at_the_second(path, write):
        writes.append(path.name)
        if len(writes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, write)

    words = ["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *quick]
    monkeypatch.setattr("mien.training.run_folder.write_whole", full_at_the_second)
    assert "disk is full; free some space, then the same command with --resume continues" in complaint(capsys, words)
    assert not (tmp_path / "run" / "model.onnx").exists()
    assert main([*words, "--resume"]) == 0
    noted = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())["command"]
    assert noted == shlex.join(["mien", *words])  # which works on its own, and gives the same
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()


def test_resuming_a_run_that_does_not_exist_starts_it_and_says_so(faces, tmp_path, capsys, quick):
    words = ["train", "mien-s", "--data", str(faces), "--out", str(tmp_path / "run"), *quick[:-1], "--resume"]
    assert quick[-1] == "--quiet"
    assert main(words) == 0
    printed = capsys.readouterr().err
    assert f"there is no run in {tmp_path / 'run'} yet; starting it" in printed
    assert f"writing {tmp_path / 'run' / 'model.onnx'}" in printed
    assert main(words) == 0
    assert "there is no run" not in capsys.readouterr().err


def test_a_demo_that_is_stopped_does_not_mention_resuming(tmp_path, monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mien.verbs.train.read_data", stopped)
    monkeypatch.setattr("mien.verbs.train.FACES_PER_LABEL", 4)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 130
    assert capsys.readouterr().err.endswith("mien: stopped\n")


@pytest.mark.parametrize("words", [["compare", "{run}", "--out"], ["predict", "photo.png", "--out"]])
def test_a_file_of_another_kind_is_not_written_over(words, run, tmp_path, capsys):
    model = shutil.copy(run / "model.onnx", tmp_path / "model.onnx")
    content = model.read_bytes()
    sentence = complaint(capsys, [word.format(run=run) for word in words] + [str(model)])
    assert "ends in no format" in sentence or "is not a file of predictions, so it is not replaced" in sentence
    assert model.read_bytes() == content


def test_votes_that_are_named_and_not_there_are_asked_for(faces, tmp_path, capsys):
    words = ["train", "mien-s", "--data", str(faces), "--data.votes_as", "beside", "--out", str(tmp_path / "run")]
    assert "add --data.votes fer2013new.csv" in complaint(capsys, words)


def test_a_model_file_is_named_as_one(run, faces, tmp_path, capsys):
    assert "ends in .onnx" in complaint(capsys, ["quantize", str(run), "--data", str(faces), "--out", str(tmp_path / "x.txt")])


def test_a_printed_recipe_is_a_recipe_file(tmp_path, capsys):
    assert main(["recipes", "mien-s"]) == 0
    (tmp_path / "own.yaml").write_text(capsys.readouterr().out)
    assert load_recipe(tmp_path / "own.yaml") == load_recipe("mien-s")


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--lr", "--recipe.optimizer.learning_rate"),
        ("--epochs", "--recipe.epochs"),
        ("--bs", "--recipe.batch_size"),
        ("--workers", "--threads"),
    ],
)
def test_a_short_flag_is_answered_with_the_one_that_is_meant(flag, meant, capsys):
    assert main(["train", "mien-s", "--data", "x", "--out", "y", flag, "1"]) == 2
    assert f"Did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["evaluate mien-s --data x --out y --workers 2", "predict x.jpg --lr 2", "predict x.jpg --gpu 0"]
)
def test_a_short_flag_of_another_verb_gets_no_wrong_hint(words, capsys):
    assert main(words.split()) == 2
    assert "Did you mean" not in capsys.readouterr().err


def test_python_m_mien_is_the_program():
    done = subprocess.run([sys.executable, "-m", "mien", "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == f"mien {mien.__version__}\n"
