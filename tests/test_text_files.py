import csv
import os
import time

import pytest

from mien.errors import MienError
from mien.inputs import csv_rows, parse_yaml, read_json

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}, *a{n}]}}\n" for n in range(14))

BAD_YAML = {
    "billion laughs": (LAUGHS, r"in line 2: aliases \(\*name\) are not read"),
    "merged aliases": (MERGES, "aliases"),
    "an alias in itself": ("a: &a [*a]", "aliases"),
    "brackets": ("a: " + "[" * 5000, "recursion"),
    "braces": ("a: " + "{a: " * 5000, "recursion"),
    "long": ("a: " + "x" * 70_000, "more than 65,536 characters"),
    "digits": ("seed: " + "9" * 5000, "digits"),
    "a key twice": ("epochs: 3\nepochs: 4\n", "in line 2: the key epochs occurs twice"),
    "an inner key twice": ("optimizer: {name: sgd, name: adam}", "the key name occurs twice"),
    "a key twice after a list": ("? [a]\n: 1\nb: 1\nb: 2\n", "in line 4: the key b occurs twice"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(7000)) + "k3: 1", "in line 7001: the key k3 occurs twice"),
    "no date": ("a: 2020-99-99", "month must be"),
    "Python": ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
    "no truth": ("a: !!bool maybe", "not valid YAML"),
    "a list as key": ("? [a]\n: b", "unhashable"),
    "two documents": ("a: 1\n---\nb: 2", "another document"),
    "NUL": ("a: \0", "special characters"),
    "nothing": ("", "must contain keys and values"),
    "a list": ("- 1", "must contain keys and values"),
}


@pytest.mark.parametrize(("text", "sentence"), BAD_YAML.values(), ids=BAD_YAML)
def test_yaml_is_bounded_in_size_and_depth_and_has_no_aliases(text, sentence):
    start = time.process_time()
    with pytest.raises(MienError, match=sentence) as told:
        parse_yaml(text, "The recipe r.yaml")
    assert str(told.value).startswith("The recipe r.yaml ")
    assert time.process_time() - start < 5


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b"", b"{", b"[1,]"])
def test_json_that_is_none_is_told(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(MienError, match=r"^Cannot read the x: .*\.$"):
        read_json(tmp_path / "x.json", "the x")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_pipes_devices_folders_and_large_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("fifo", "zero", "."):
        with pytest.raises(MienError, match="not a file"):
            read_json(tmp_path / name, "it")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(MienError, match=r"larger than 67,108,864 bytes"):
        read_json(tmp_path / "large", "it")


def test_csv_with_quoted_line_breaks_comes_back(tmp_path):
    rows = [["id", "x"], ["a\nb", 'say "no"'], ["лицо", ""]]
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    assert list(csv_rows(tmp_path / "x.csv", "x")) == [(1, rows[0]), (3, rows[1]), (4, rows[2])]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1\n", "breaks off in line 2, which has 1 cells, not 2"),
        ("a\n\0\n", "line 2 has a NUL"),
        ('a\n"' + "x" * 200_000, "limit"),
    ],
)
def test_csv_that_breaks_off_is_told_with_its_line(text, sentence, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(MienError, match=f"Cannot read the x: .*{sentence}"):
        list(csv_rows(tmp_path / "x.csv", "the x"))
