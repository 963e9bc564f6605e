"""Pushing a run to the hub: what goes there, and what is refused. The hub is a stand-in."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError

import mien
from mien.cli import main
from mien.errors import MienError
from mien.verbs import publish as pushing


class Hub:
    """A hub in memory, in the place of huggingface_hub.HfApi."""

    def __init__(self, public=(), error=None):
        self.repositories = dict.fromkeys(public, False)
        self.uploaded, self.error = {}, error

    def __call__(self, **_):
        return self

    def create_repo(self, to, private=None, exist_ok=False):
        if self.error:
            raise self.error
        assert exist_ok
        self.repositories.setdefault(to, bool(private))
        return f"https://hub.example/{to}"

    def repo_info(self, to):
        return SimpleNamespace(private=self.repositories[to])

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.uploaded = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}


@pytest.fixture
def hub(monkeypatch):
    """Put a hub in place, with a token for it."""

    def put(**options):
        made = Hub(**options)
        monkeypatch.setattr(huggingface_hub, "HfApi", made)
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
        return made

    return put


FILES = ["README.md", "metrics.json", "model.onnx", "recipe.yaml"]


def test_a_run_is_uploaded_with_its_card(run, hub):
    made = hub()
    pushed = mien.push(run, "alice/faces", private=True, license="mit")
    assert sorted(made.uploaded) == list(pushed.files) == FILES
    assert made.uploaded["model.onnx"] == (run / "model.onnx").read_bytes()
    assert made.uploaded["README.md"].decode() == pushed.card
    assert "license: mit" in pushed.card
    assert made.repositories == {"alice/faces": True}
    assert pushed.table().endswith("alice/faces: https://hub.example/alice/faces")


def test_a_folder_is_written_without_a_network_and_again_but_never_over_other_files(run, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    out = tmp_path / "hub"
    for _ in range(2):
        assert mien.push(run, "alice/faces", out=out).folder == out
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert mien.Classifier(out).labels == mien.Classifier(run).labels
    with pytest.raises(MienError, match="holds other files"):
        mien.push(run, "alice/faces", out=run)
    (tmp_path / "letter.txt").write_text("Dear me")
    with pytest.raises(MienError, match="is a file"):
        mien.push(run, "alice/faces", out=tmp_path / "letter.txt")


def test_a_dry_run_writes_and_uploads_nothing(run, tmp_path, hub):
    made = hub()
    pushed = mien.push(run, "alice/faces", dry_run=True, out=tmp_path / "hub")
    assert list(pushed.files) == FILES
    assert "nothing uploaded" in pushed.table()
    assert made.repositories == {}
    assert not (tmp_path / "hub").exists()


def test_other_reports_on_the_same_model_go_along_and_those_on_others_stay(run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    shutil.copytree(copied / "report", copied / "report-test")
    other = json.loads((copied / "report" / "metrics.json").read_text())
    other["model"]["sha256"] = "0" * 64
    for name, text in {"of-another": json.dumps(other), "of-nobody": "{}"}.items():
        (copied / name).mkdir()
        (copied / name / "metrics.json").write_text(text)
    assert sorted(mien.push(copied, "alice/faces", dry_run=True).files) == sorted([*FILES, "metrics-test.json"])


def test_the_name_of_the_home_folder_does_not_leave_the_machine(run, tmp_path, monkeypatch):
    home = tmp_path / "home" / "alice"
    copied = home / "runs" / "a"
    shutil.copytree(run, copied)
    metrics = json.loads((copied / "report" / "metrics.json").read_text())
    metrics["command"] = f"mien train mien-s --data '{home}/my faces' --out {home}/runs/a --recipe {home}son/x"
    (copied / "report" / "metrics.json").write_text(json.dumps(metrics))
    monkeypatch.setattr(Path, "home", lambda: home)
    mien.push(copied, "bob/faces", out=tmp_path / "hub")
    for name in ("README.md", "metrics.json"):
        text = (tmp_path / "hub" / name).read_text()
        assert "~/my faces" in text
        assert f"{home}/" not in text
        assert f"{home}son/x" in text, "another folder whose name begins the same"


def test_what_is_no_finished_run_is_reported(tmp_path, run):
    with pytest.raises(MienError, match="not the folder of a finished run"):
        mien.push(tmp_path, "alice/faces", dry_run=True)
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    shutil.copyfile(Path(pushing.__file__).parents[1] / "models" / "mien-s.onnx", changed / "model.onnx")
    with pytest.raises(MienError, match="is about another model"):
        mien.push(changed, "alice/faces", dry_run=True)


@pytest.mark.parametrize("license", ["Apache 2.0", "", "MIT"])
def test_a_licence_that_the_hub_has_no_name_for_is_reported(license, run):
    with pytest.raises(MienError, match=r"such as apache-2\.0"):
        mien.push(run, "alice/faces", license=license, dry_run=True)


@pytest.mark.parametrize("name", ["faces", "alice/", "/faces", "alice/fa ces", "hf:alice/faces", "a/b/c"])
def test_a_name_that_is_none_is_reported(name, tmp_path):
    with pytest.raises(MienError, match="write --to owner/name"):
        mien.push(tmp_path, name)


def test_without_a_token_nothing_is_begun(run, hub, monkeypatch):
    made = hub()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(MienError, match=r"hf auth login.*HF_TOKEN.*--dry-run"):
        mien.push(run, "alice/faces")
    assert made.repositories == {}


def test_what_shall_be_private_is_not_put_where_all_can_see_it(run, hub):
    made = hub(public=["alice/faces"])
    with pytest.raises(MienError, match="already and public"):
        mien.push(run, "alice/faces", private=True)
    assert made.uploaded == {}


@pytest.mark.parametrize(
    ("status", "says"), [(403, "does not let this token write to alice/faces"), (500, r"\(status 500\): on fire\.")]
)
def test_what_the_hub_refuses_is_one_sentence(run, hub, status, says):
    response = SimpleNamespace(headers={}, request=None, status_code=status)
    hub(error=HfHubHTTPError("Error\nmore", response=response, server_message="on fire."))
    with pytest.raises(MienError, match=says):
        mien.push(run, "alice/faces")


def test_without_a_network_a_sentence_says_so(run, hub):
    hub(error=ConnectionError("no route to host\nmore"))
    with pytest.raises(MienError, match=r"could not be reached \(no route to host\)"):
        mien.push(run, "alice/faces")


def test_a_dry_run_of_push_shows_the_card_and_the_files(run, capsys):
    assert main(["push", str(run), "--to", "alice/faces", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("---\nlibrary_name: mien\n")
    assert "nothing uploaded" in out


def test_push_writes_a_folder(run, tmp_path, capsys):
    assert main(["push", str(run), "--to", "alice/faces", "--license", "mit", "--out", str(tmp_path / "hub")]) == 0
    assert "model.onnx" in capsys.readouterr().out
    assert (tmp_path / "hub" / "README.md").is_file()
