import shutil
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.numpy import load_file

from mien.errors import MienError
from mien.training import loop
from mien.training.loop import train
from mien.training.recipe import Distillation
from mien.training.run_folder import CHECKPOINTS, _read_checkpoint, describe_conditions


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, drawn):
    """A run that was stopped after two of three epochs, and the same run to its end."""
    from mien.training.recipe import load_recipe

    out, recipe = tmp_path_factory.mktemp("runs"), replace(load_recipe("mien-s"), epochs=3, batch_size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_finish", lambda *_: None)  # no export, which nothing here looks at
        train(recipe, drawn, out / "whole", threads=1, quiet=True)
        real, epochs = loop._train_epoch, []

        def stop_at_the_third(run, quiet, *callbacks):
            epochs.append(1)
            if len(epochs) == 3:
                raise KeyboardInterrupt
            return real(run, quiet, *callbacks)

        patch.setattr(loop, "_train_epoch", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, drawn, out / "stopped", threads=1, quiet=True)
    return out


@pytest.fixture
def broken(stopped, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_finish", lambda *_: None)
    shutil.copytree(stopped / "stopped", tmp_path / "run")
    return tmp_path / "run"


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16  # one bit, in the weights
    path.write_bytes(content)


def is_whole(run, stopped):
    one, other = load_file(run / "weights.safetensors"), load_file(stopped / "whole" / "weights.safetensors")
    return all((one[name] == other[name]).all() for name in other)


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "flipped": flipped,
    "foreign": lambda path: path.write_bytes(b"PK\x03\x04 not a checkpoint"),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_replaced_by_the_one_before_and_ends_as_an_unbroken_run(
    damage, broken, stopped, drawn, recipe, capsys
):
    DAMAGE[damage](broken / "last.ckpt")
    train(recipe, drawn, broken, resume=True, threads=1)
    told = capsys.readouterr().err
    assert "resuming after epoch 1" in told
    assert ("last.ckpt is damaged; going on from the epoch before it, in previous.ckpt" in told) == (damage != "missing")
    assert is_whole(broken, stopped)
    assert not (broken / "previous.ckpt").exists(), "a complete run needs it no more"


@pytest.mark.parametrize("name", ["weights.safetensors", "log.csv"])
@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_other_damaged_files_are_written_again_from_the_checkpoint(name, damage, broken, stopped, drawn, recipe):
    DAMAGE[damage](broken / name)
    train(recipe, drawn, broken, resume=True, threads=1, quiet=True)
    assert is_whole(broken, stopped)
    rows, wanted = ((run / "log.csv").read_text().splitlines() for run in (broken, stopped / "whole"))
    assert [row.split(",")[:6] for row in rows] == [row.split(",")[:6] for row in wanted]


def test_without_a_whole_checkpoint_the_way_back_is_named(broken, drawn, recipe):
    for name in CHECKPOINTS:
        flipped(broken / name)
    with pytest.raises(MienError, match=r"last\.ckpt and .*previous\.ckpt cannot be read, .*another --out"):
        train(recipe, drawn, broken, resume=True, threads=1, quiet=True)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"epochs: [", b"epochs: -3\n"])
def test_a_damaged_recipe_names_the_way_back(content, broken, drawn, recipe):
    (broken / "recipe.yaml").write_bytes(content)
    with pytest.raises(MienError, match=r"cannot be resumed: .*recipe\.yaml.* another --out"):
        train(recipe, drawn, broken, resume=True, threads=1, quiet=True)


def rewrite(run, change):
    state = torch.load(run / "last.ckpt", weights_only=True)
    change(state)
    torch.save(state, run / "last.ckpt")


@pytest.mark.parametrize("name", ["the version of mien", "the validation rows", "the recipe or the training rows"])
def test_a_run_made_under_other_conditions_is_refused(name, broken, drawn, recipe):
    rewrite(broken, lambda state: state["conditions"]["same"].update({name: "other"}))
    with pytest.raises(MienError, match=f"cannot be resumed, because this has changed since: {name}"):
        train(recipe, drawn, broken, resume=True, threads=1, quiet=True)


def test_other_hardware_is_said_and_a_checkpoint_of_another_program_refused(broken, drawn, recipe, capsys):
    rewrite(broken, lambda state: state["conditions"]["close"].update(device="cuda"))
    train(recipe, drawn, broken, resume=True, threads=1, quiet=True)
    assert "resuming with device cpu, not cuda: the result can differ in the last digits" in capsys.readouterr().err
    rewrite(broken, lambda state: state.pop("conditions"))
    with pytest.raises(MienError, match=r"last\.ckpt is of another program or an older mien; train again into another --out"):
        train(recipe, drawn, broken, resume=True, threads=1, quiet=True)


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_noticed_or_harmless(tmp_path):
    path, state = tmp_path / "small.ckpt", {"numbers": torch.arange(300.0), "history": [{"epoch": 1.0}]}
    torch.save(state, path)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        read = _read_checkpoint(path)
        assert read is None or (torch.equal(read["numbers"], state["numbers"]) and read["history"] == state["history"])


def test_another_teacher_in_the_same_folder_is_noticed(tmp_path, drawn, recipe):
    (tmp_path / "weights.safetensors").write_bytes(b"one")
    taught = replace(recipe, distillation=Distillation([str(tmp_path)]))
    fabric = Fabric(accelerator="cpu", devices=1)
    before = describe_conditions(taught, drawn, tmp_path, fabric)["same"]
    (tmp_path / "weights.safetensors").write_bytes(b"other")
    after = describe_conditions(taught, drawn, tmp_path, fabric)["same"]
    assert {name for name in before if before[name] != after[name]} == {f"the teacher {tmp_path}"}
