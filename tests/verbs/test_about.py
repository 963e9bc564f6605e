"""`mien doctor` reports no problem where there is none, and each problem with its remedy."""

import json
import os
import shutil
import subprocess
import sys

import onnxruntime
import pytest

import mien
from mien.cli import main
from mien.files import cache_folder
from mien.inference import classifier, detection
from mien.inference.classifier import MODELS
from mien.verbs import about
from mien.verbs.about import diagnose


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of embedded models that a test may change."""
    folder = tmp_path / "models"
    folder.mkdir()
    for path in MODELS.glob("mien-s.*"):
        shutil.copyfile(path, folder / path.name)
    monkeypatch.setattr(classifier, "MODELS", folder)
    return folder


@pytest.fixture
def requirements(monkeypatch):
    """Set what mien requires, and which versions are installed."""

    def state(needed, installed):
        monkeypatch.setattr(about.metadata, "requires", lambda _: needed)
        monkeypatch.setattr(about, "version", {"mien": "0.1.0", **installed}.get)

    return state


def test_where_all_is_there_all_is_well(monkeypatch):
    monkeypatch.setattr(about, "nvidia_gpus", list)
    found = diagnose()
    assert found.works
    assert found.advice == []
    assert found.table().splitlines()[-1] == "all is well"
    assert "CPUExecutionProvider" in found.providers
    assert all(result.startswith("answers in") for result in found.models.values())
    assert found.cache == str(cache_folder())
    assert found.packages["numpy"]


def test_it_asks_no_large_package_for_its_version():
    code = "import sys; from mien.verbs.about import diagnose; diagnose(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert not {"torch", "timm", "sklearn", "matplotlib", "huggingface_hub"}.intersection(done.stdout.split())


def test_a_damaged_model_does_not_work(models):
    (models / "mien-s.onnx").write_bytes(b"nothing")
    found = diagnose()
    assert not found.works
    assert any("mien-s does not answer" in line and "--force-reinstall" in line for line in found.advice)
    assert "mien predict does not work:" in found.table()


def test_a_model_that_is_gone_does_not_work(models):
    (models / "mien-s.onnx").unlink()
    found = diagnose()
    assert not found.works
    assert any("mien-s does not answer" in line and "--force-reinstall" in line for line in found.advice)


def test_a_cache_that_cannot_be_made_is_reported(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file" / "cache"))
    found = diagnose()
    assert found.works
    assert any("set MIEN_CACHE" in line for line in found.advice)
    assert "mien predict works; still:" in found.table()
    assert found.settings["MIEN_CACHE"].endswith("cache")


def test_a_detector_that_is_named_wrongly_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_DETECTOR", str(tmp_path / "none.onnx"))
    assert any("no detector file" in line and "check --detector and MIEN_DETECTOR" in line for line in diagnose().advice)
    assert not diagnose().works, "mien predict would stop with the same sentence"
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    assert any("is not a YuNet model" in line for line in diagnose().advice)


def test_without_the_detectors_file_nothing_works(monkeypatch, tmp_path):
    monkeypatch.setattr(detection, "YUNET", tmp_path / "yunet.onnx")
    found = diagnose()
    assert not found.works
    assert found.detectors == {"yunet": "does not work"}


def test_a_module_that_cannot_be_imported_is_reported_and_the_rest_still_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = diagnose()
    assert not found.works
    assert any(line.startswith("onnxruntime cannot be imported") for line in found.advice)
    assert found.packages["numpy"]


def test_what_an_extra_lacks_is_named_with_the_command_that_brings_it(requirements):
    requirements(["numpy>=1.26", 'huggingface-hub>=0.25; extra == "hub"'], {"numpy": "2.0"})
    found = diagnose()
    assert found.missing == {"hub": ["huggingface-hub"]}
    assert "huggingface-hub: pip install 'mien[hub]'" in found.table()
    assert found.works


def test_packages_that_are_missing_or_too_old_are_reported(requirements):
    requirements(["numpy>=1.26", "pillow>=10.1"], {"numpy": "1.20"})
    found = diagnose()
    assert not found.works
    assert "numpy is 1.20, and mien needs >=1.26: pip install -U 'numpy>=1.26'" in found.advice
    assert any(line.startswith("pillow is missing") for line in found.advice)


def test_one_package_may_stand_in_for_another_but_not_beside_it(requirements):
    requirements(["onnxruntime>=1.17"], {"onnxruntime-gpu": "1.20"})
    found = diagnose()
    assert (found.packages["onnxruntime-gpu"], found.advice) == ("1.20", [])
    requirements(["onnxruntime>=1.17"], {"onnxruntime-gpu": "1.20", "onnxruntime": "1.20"})
    assert any("pip uninstall onnxruntime onnxruntime-gpu" in line for line in diagnose().advice)


def test_a_gpu_that_is_there_and_not_used_is_reported(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA H100\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    found = diagnose()
    assert found.gpus == ["NVIDIA H100"]
    assert any("onnxruntime-gpu" in line for line in found.advice)
    assert found.works


def test_the_doctor_answers_programs_and_its_exit_status_says_whether_predicting_works(capsys, monkeypatch):
    assert main(["doctor", "--format", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["works"] is True
    assert printed["packages"]["numpy"]
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["doctor"]) == 1
    assert "av cannot be imported" in capsys.readouterr().out


def test_the_table_names_each_part_once():
    told = {
        "packages": {f"package-{n}": f"{n}.0" for n in range(12)},
        "missing": {"hub": ["huggingface-hub"], "train": ["torch"]},
    }
    found = about.Diagnosis(
        python="3", system="Linux", **told, settings={"MIEN_A": "x\ny"}, cache="/cache", advice=["do <this>"]
    )
    assert found.table().splitlines() == [
        f"mien {mien.__version__}   Python 3   Linux",
        "",
        "packages   package-0==0.0, package-1==1.0, package-2==2.0, package-3==3.0, package-4==4.0, package-5==5.0,",
        "           package-6==6.0, package-7==7.0, package-8==8.0, package-9==9.0, package-10==10.0, package-11==11.0",
        "missing    huggingface-hub: pip install 'mien[hub]', for models by hf:owner/name, and mien push",
        "           torch: pip install 'mien[train]', for mien train and quantize",
        "cache      /cache",
        "settings   MIEN_A=x\\ny",
        "",
        "mien predict works; still:",
        "do <this>",
    ]


def test_without_jinja_the_doctor_still_answers(monkeypatch, requirements, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    requirements(["jinja2>=3.1"], {})
    assert main(["doctor"]) == 1
    assert json.loads(capsys.readouterr().out)["advice"][0].startswith("jinja2 is missing")


def test_the_token_of_the_service_is_not_shown(monkeypatch, capsys):
    monkeypatch.setenv("MIEN_TOKEN", "a secret")
    for form in ("table", "json"):
        main(["doctor", "--format", form])
        told = capsys.readouterr().out
        assert "MIEN_TOKEN" in told
        assert "secret" not in told
