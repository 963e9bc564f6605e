"""Start Ray on this machine, or join a cluster, and take the answers of a job as long as the cluster is there."""

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from mien.errors import MienError
from mien.inference.classifier import usable_cores
from mien.inputs import reason_of
from mien.scaling.worker import Job, PartPredictor, list_parts

ANSWER_SECONDS = 10.0  # in which a cluster must accept a connection
JOIN_SECONDS = 60.0  # in which a cluster must let this process in
LOST_SECONDS = 20.0  # without a connection, after which a cluster counts as gone; Ray itself ends the process after 60
POLL_SECONDS = 2.0
STORE = 200 * 2**20  # bytes of Ray's object store on this machine: only names and counts pass through it

# read when Ray is imported or started: no report of its use, no warnings of its own changes, no messages of its C++
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that goes on after the end would join any cluster of this machine
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # Ray's switch for a node that only this machine reaches


def import_ray(is_local: bool) -> Any:
    """Import Ray, quiet; a MienError if it is not installed."""
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise MienError("--engine ray needs Ray, which is not installed; run: pip install 'mien[scale]'")
    for name, value in (_QUIET | _LOOPBACK if is_local else _QUIET).items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Give the module ray: connected to a cluster, or to Ray started on this machine, which ends with the block.

    A process that is connected already stays so.
    """
    ray = import_ray(address is None)
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "critical", "configure_logging": True}
    try:
        if address is None:
            with _loopback(), _no_native_messages():
                own = {"num_cpus": usable_cores(), "include_dashboard": False, "object_store_memory": STORE}
                ray.init(address="local", **own, **options)  # else it would join any cluster of this machine
        else:
            _join(ray, address, options)
        yield ray
    except KeyboardInterrupt:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a thread of Ray's may go on without it
        raise
    finally:
        _in_time(ray.shutdown, ANSWER_SECONDS)  # which waits for a cluster that is gone


@contextmanager
def _loopback() -> Iterator[None]:
    """Start Ray on the loopback address only, also where ray was imported before the environment said so."""
    from ray._private import ray_constants

    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _no_native_messages() -> Iterator[None]:
    """Discard what C++ writes to stderr in the block, such as which level of messages it was told."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _join(ray: Any, address: str, options: dict[str, Any]) -> None:
    advice = "check the address, and that `ray start` was run on this machine with it"
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or "/" in host:
            raise MienError(f"--address is HOST:PORT of the cluster's head, such as 10.0.0.1:6379, or auto, not {address!r}.")
        if reason := unreachable(address, ANSWER_SECONDS):
            raise MienError(f"The cluster at {address!r} does not answer ({reason}); {advice}.")
    try:
        with _no_native_messages():
            is_in = _in_time(lambda: ray.init(address=address, **options), JOIN_SECONDS)
        if not is_in:
            raise ConnectionError(f"no answer in {JOIN_SECONDS:.0f} seconds")
    except Exception as problem:  # Ray's RpcError, ConnectionError, RuntimeError, ValueError
        raise MienError(f"The cluster at {address!r} cannot be joined ({reason_of(problem)}); {advice}.") from None


def _in_time(call: Any, seconds: float) -> bool:
    """Call in a thread, and tell whether it ended in time; what it raises rises here."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as problem:
            raised.append(problem)

    thread = threading.Thread(target=run, name="mien-ray", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    return not thread.is_alive()


def unreachable(address: str, seconds: float) -> str:
    """Return why no connection to HOST:PORT can be made in this time, empty if one can."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except OSError as problem:
        return reason_of(problem)
    return ""


def dataset(ray: Any, job: Job, workers: int | None, threads: int) -> Any:
    """Describe a job to Ray Data: one task lists parts as the workers need them, and each of these is an actor."""
    cpus, gpus = (ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU"))
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if threads > largest:
        raise MienError(f"No machine of the cluster has {threads} CPUs free for the threads of a worker; give fewer --threads.")
    workers = workers or max(1, int(cpus // threads))
    share = min(1.0, int(1000 * gpus / workers) / 1000)  # of a GPU
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # bytes: each part is a block of its own, so that the workers take them one by one
    context.enable_progress_bars = context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        listed = ray.data.from_items([{"job": 0}]).map_batches(list_parts, fn_args=[job], batch_size=1, num_cpus=0)
        return listed.map_batches(
            PartPredictor,
            fn_constructor_args=[job._replace(has_gpu=share > 0)],
            compute=ray.data.ActorPoolStrategy(size=workers),
            batch_size=1,
            num_cpus=threads,
            num_gpus=share or None,
        )


def answers(ray: Any, dataset: Any) -> Iterator[dict[str, Any]]:
    """Run a dataset and yield its answers as they come; a MienError if the cluster goes away, in `LOST_SECONDS`."""
    address, results, last = ray.get_runtime_context().gcs_address, queue.Queue[Any](), time.monotonic()

    def consume() -> None:
        try:
            for row in dataset.iter_rows():
                results.put(row["answer"])
            results.put(None)
        except BaseException as problem:  # raised again in the caller's thread
            results.put(problem)

    threading.Thread(target=consume, name="mien-ray", daemon=True).start()
    while True:
        with suppress(queue.Empty):
            result = results.get(timeout=POLL_SECONDS)
            if isinstance(result, BaseException):
                _check_alive(address, last)
                raise MienError(f"Ray gave up ({_ray_reason(result)}); the same command with --resume continues.") from result
            if result is None:
                return
            yield result
        last = _check_alive(address, last)


def _check_alive(address: str, last: float) -> float:
    """Return the time of the last connection to the cluster; a MienError if that is too long ago."""
    if not (reason := unreachable(address, POLL_SECONDS)):
        return time.monotonic()
    if time.monotonic() - last > LOST_SECONDS:
        again = "when it is back, the same command with --resume continues"
        raise MienError(f"The cluster at {address!r} is gone ({reason}); {again}.")
    return last


def _ray_reason(problem: BaseException) -> str:
    """Return the last line of a traceback in a message of Ray's, which is the exception that began it."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return reason_of(RuntimeError(lines[-1])) if lines else type(problem).__name__
