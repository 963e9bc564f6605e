"""Ray on this machine is reached from nowhere else; a cluster of two hosts works, and one that is gone is a sentence."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pyarrow
import pytest
from pyarrow import parquet

from mien.errors import MienError
from mien.scaling import RECORD, cluster

RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--object-store-memory=100000000", "--block"]


class Hosts:
    """Two hosts of a cluster, each in a network namespace of its own where that is permitted, else both on this machine."""

    def __init__(self, mien):
        self.mien, self.nodes, self.made = mien, [], []
        self.addresses, self.before = ["127.0.0.1", "127.0.0.1"], [[], []]
        self.is_apart = bool(shutil.which("ip")) and self._divide()
        self.head = f"{self.addresses[0]}:{6390 if self.is_apart else free_port()}"

    def _divide(self):
        names = [f"mien{os.getpid()}{letter}" for letter in "ab"]
        commands = [f"netns add {name}" for name in names]
        commands.append(f"link add {names[0][-8:]} netns {names[0]} type veth peer name {names[1][-8:]} netns {names[1]}")
        for number, name in enumerate(names):
            commands += [f"-n {name} addr add 10.77.0.{number + 1}/24 dev {name[-8:]}", f"-n {name} link set {name[-8:]} up"]
            commands.append(f"-n {name} link set lo up")
        self.made = names
        if any(subprocess.run(["ip", *command.split()], capture_output=True, check=False).returncode for command in commands):
            return False
        self.addresses = ["10.77.0.1", "10.77.0.2"]
        self.before = [["ip", "netns", "exec", name] for name in names]
        return True

    def start(self):
        port = self.head.rpartition(":")[2]
        for number, address in enumerate(self.addresses):
            role = ["--head", f"--port={port}", "--include-dashboard=false"] if number == 0 else [f"--address={self.head}"]
            words = [*self.before[number], *RAY, *role, f"--node-ip-address={address}"]
            with (self.mien.folder / f"node{number}.log").open("w") as log:
                self.nodes.append(subprocess.Popen(words, stdout=log, stderr=log, cwd=self.mien.folder, env=self.env(number)))
            until = time.monotonic() + 120
            while "Ray runtime started" not in (text := (self.mien.folder / f"node{number}.log").read_text()):
                assert self.nodes[number].poll() is None and time.monotonic() < until, text  # noqa: PT018
                time.sleep(0.2)

    def stop(self, number):
        """End all processes of a host at once, as its power does."""
        found = self.mien.processes(f"MIEN_TEST_NODE={self.env(number)['MIEN_TEST_NODE']}")
        assert any("PartPredictor" in title for title in found.values()), found
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, 9)
        self.nodes[number].wait()

    def env(self, number):
        return {**os.environ, "MIEN_TEST_NODE": f"{self.mien.folder}:{number}:"}

    def close(self):
        self.mien.close()
        for node in self.nodes:
            node.wait()
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def hosts(mien):
    found = Hosts(mien)
    yield found
    found.close()


@pytest.fixture
def table(photos, tmp_path):
    """Sixty photos as a Parquet file of paths."""
    names = [str(photos / name) for name in ["0.png", "2.png"] * 30]
    parquet.write_table(pyarrow.table({"path": names}), tmp_path / "p.parquet")
    return tmp_path / "p.parquet"


def predicting(mien, hosts, table, out, part_size):
    words = ["predict", table, "--engine", "ray", "--out", out, "--address", hosts.head, "--part_size", part_size]
    return mien.start(*words, before=hosts.before[0])


@pytest.mark.slow
def test_two_hosts_share_a_job_and_one_that_goes_away_costs_no_row(mien, hosts, table, monkeypatch):
    hosts.start()
    out = mien.folder / "out"
    child = predicting(mien, hosts, table, out, 5)
    _, said = child.communicate(timeout=300)
    assert child.returncode == 0, said
    record = json.loads((out / RECORD).read_text())
    assert (record["parts"], record["machines"]) == (12, 2), f"in network namespaces: {hosts.is_apart}"
    alone = parquet.read_table(out)
    assert alone["source"].to_pylist().count(str(table)) == 0

    monkeypatch.setenv("RAY_ADDRESS", hosts.head)
    hosts.head = "auto"
    child = predicting(mien, hosts, table, mien.folder / "again", 5)
    until = time.monotonic() + 120
    while not list(mien.folder.glob("again/part-*")) and child.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    hosts.stop(1)
    _, said = child.communicate(timeout=400)
    assert child.returncode == 0, said
    assert parquet.read_table(mien.folder / "again").equals(alone)
    assert len(list(mien.folder.glob("again/part-*.parquet"))) == 12


@pytest.mark.slow
def test_a_cluster_that_goes_away_ends_the_job_with_a_sentence_and_the_job_goes_on_elsewhere(mien, hosts, table):
    hosts.start()
    out = mien.folder / "out"
    child = predicting(mien, hosts, table, out, 1)
    until = time.monotonic() + 120
    while not list(mien.folder.glob("out/part-*")) and child.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    for number in (0, 1):
        hosts.stop(number)
    gone = time.monotonic()
    _, said = child.communicate(timeout=120)
    assert child.returncode == 2, said
    assert time.monotonic() - gone < cluster.LOST_SECONDS + cluster.ANSWER_SECONDS + 20
    (line,) = [line for line in said.splitlines() if line.startswith("mien: ") and "worker" not in line]
    assert "the same command with --resume continues" in line
    done = len(list(out.glob("part-*.parquet")))
    assert 0 < done < 60
    status, _, said = mien.run("predict", table, "--engine", "ray", "--out", out, "--part_size", "1", "--resume")
    assert status == 0, said
    assert len(list(out.glob("part-*.parquet"))) == 60
    assert [row for row in parquet.read_table(out)["source"].to_pylist() if not row.endswith(".png")] == []


@pytest.mark.slow
def test_a_port_that_accepts_and_says_nothing_is_given_up(mien, photos, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        words = ["--engine", "ray", "--out", "out", "--address", f"127.0.0.1:{silent.getsockname()[1]}"]
        status, _, said = mien.run("predict", photos, *words)
    assert status == 2, said
    assert "cannot be joined" in said
    assert len(said.splitlines()) == 1
    assert time.monotonic() - start < cluster.JOIN_SECONDS + 40
    assert not (mien.folder / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ss"), reason="ss (iproute2) is missing")
def test_ray_on_this_machine_listens_on_the_loopback_address_only(mien, table):
    child = mien.start("predict", table, "--engine", "ray", "--out", "out", "--part_size", "5")
    found, remote = set(), set()
    while child.poll() is None:
        numbers = mien.processes()
        printed = subprocess.run(["ss", "-tanp"], capture_output=True, text=True, check=True).stdout
        for line in printed.splitlines():
            if any(f"pid={number}," in line for number in numbers):
                state, local, other = (line.split()[place] for place in (0, 3, 4))
                (found if state == "LISTEN" else remote).add((local if state == "LISTEN" else other).rpartition(":")[0])
        time.sleep(0.5)
    _, said = child.communicate()
    assert child.returncode == 0, said
    assert found, "some process of Ray was seen"
    assert {
        address for address in found | remote if not address.strip("[]").removeprefix("::ffff:").startswith("127.")
    } == set()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://head:10001", "--address is HOST:PORT"),
        ("head", "--address is HOST:PORT"),
        (":6379", "--address is HOST:PORT"),
        ("127.0.0.1:9", r"does not answer \(Connection refused\); check the address, and that `ray start` was run"),
        ("no.such.host.invalid:6379", "does not answer"),
    ],
)
def test_an_address_that_does_not_answer_is_one_sentence(address, sentence, mien):
    start = time.monotonic()
    with pytest.raises(MienError, match=sentence), cluster.connected(address):
        pass
    assert time.monotonic() - start < cluster.ANSWER_SECONDS + 10
