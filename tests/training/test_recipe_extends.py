from dataclasses import replace

import pytest

from mien.cli import main
from mien.errors import MienError
from mien.training.recipe import load_recipe


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(texts))}.yaml"


def test_a_recipe_that_extends_another_changes_its_keys_alone(tmp_path):
    recipe, base = (
        load_recipe(write(tmp_path, own="extends: mien-s\nepochs: 7\noptimizer: {weight_decay: 0.1}\n")),
        load_recipe("mien-s"),
    )
    changed = replace(base, epochs=7, optimizer=replace(base.optimizer, weight_decay=0.1))
    assert recipe == replace(changed, description="mien-s with epochs 7, optimizer.weight_decay 0.1")


def test_files_extend_each_other_from_the_folder_they_lie_in(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    write(tmp_path, base="extends: mien-s\nbatch_size: 48\nmerge: {a: [angry, disgust]}\n")
    own = write(tmp_path / "deep", own="extends: ../base.yaml\ndescription: mine\nmerge: {b: [sad, fear]}\n")
    monkeypatch.chdir(tmp_path / "deep")
    recipe = load_recipe(own)
    # a map of labels is one value
    assert (recipe.batch_size, recipe.description, recipe.merge) == (48, "mine", {"b": ["sad", "fear"]})


def test_the_description_names_the_recipe_that_the_file_extends_and_labels_that_are_numbers(tmp_path):
    texts = {"own": "extends: base.yaml\nepochs: 7\nmerge: {1: sad}\n", "base": "extends: mien-s\nbatch_size: 48\n"}
    assert load_recipe(write(tmp_path, **texts)).description == "base with merge.1 sad, epochs 7"
    assert load_recipe(tmp_path / "base.yaml").description == "mien-s with batch_size 48"


def test_deeper_sections_are_merged_key_by_key(tmp_path):
    own = write(
        tmp_path,
        own="extends: base.yaml\nbalance: {copies: {blur: 0.5}}\n",
        base="balance: {augment_minorities: true, copies: {rotation: 3}}\n",
    )
    balance = load_recipe(own).balance
    assert (balance.augment_minorities, balance.copies.rotation, balance.copies.blur) == (True, 3, 0.5)


def test_options_of_the_network_of_the_base_are_not_those_of_another(tmp_path):
    assert load_recipe("mien-s").network_options
    assert load_recipe(write(tmp_path, own="extends: mien-s\nnetwork: wide_cnn\n")).network_options is None
    same = "network_options: {squeeze_excitation: true}\n"
    assert load_recipe(write(tmp_path, own=f"extends: mien-s\nnetwork: own:Net\n{same}")).network_options
    assert load_recipe(write(tmp_path, same="extends: mien-s\ndropout: 0.3\n")).network_options


def test_the_written_recipe_stands_by_itself(tmp_path):
    recipe = load_recipe(write(tmp_path, own="extends: mien-s\nepochs: 7\n"))
    assert load_recipe(write(tmp_path, copy=recipe.to_yaml())) == recipe
    assert "extends" not in recipe.to_yaml()


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"own": "extends: own.yaml\n"}, "own.yaml: extends must be the name of one of mien's recipes"),
        ({"own": "extends: two.yaml\n", "two": "extends: own.yaml\n"}, "own.yaml: extends must be the name"),
        ({"own": "extends:\nepochs: 1\n"}, "own.yaml: extends must be the name"),
        ({"own": "extends: [mien-s]\n"}, "own.yaml: extends must be the name"),
        ({"own": "extends: mien-z\n"}, "own.yaml: There is no recipe 'mien-z'; did you mean mien-s"),
        ({"own": "extends: none.yaml\n"}, r"own\.yaml: There is no recipe file '.*none\.yaml'"),
        ({"own": "extends: two.yaml\n", "two": "extends: mien-z\n"}, r"own\.yaml: .*two\.yaml: There is no recipe 'mien-z'"),
        ({"own": "extends: two.yaml\n", "two": "epochs: many\n"}, r"two\.yaml: .*epochs: expected a whole number"),
        ({"own": "extends: two.yaml\n", "two": "optimizer: 3\n"}, r"two\.yaml: The recipe's optimizer must have keys"),
        ({"own": "extends: mien-s\noptimizer: 3\n"}, r"own\.yaml: The recipe's optimizer must have keys"),
        ({"own": "extends: mien-s\nlr: 0.1\n"}, r"no key lr; did you mean optimizer\.learning_rate\?"),
        ({"own": "optimizer: {lr: 0.1}\n"}, r"no key optimizer\.lr; did you mean optimizer\.learning_rate\?"),
        ({"own": "batch: 16\n"}, "no key batch; did you mean batch_size?"),
    ],
)
def test_a_mistake_is_reported_in_the_file_it_is_in(texts, sentence, tmp_path):
    with pytest.raises(MienError, match=sentence.replace("?", r"\?") if "\\?" not in sentence else sentence):
        load_recipe(write(tmp_path, **texts))


def test_a_model_is_trained_by_a_recipe_that_extends_another(faces, tmp_path, quick):
    own = write(tmp_path, own="extends: mien-s\ndropout: 0.2\n")
    assert main(["train", str(own), "--data", str(faces), "--out", str(tmp_path / "run"), *quick]) == 0
    recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert (recipe.dropout, recipe.network) == (0.2, "compact_resnet")
    assert recipe.description.startswith("own with ")  # the flags of the command line changed it
