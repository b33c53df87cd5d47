"""Shared by all tests: one Ray cluster a run, one small finished sweep, and small pieces to build records from."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# The threads of OpenMP and BLAS wait by spinning: beside another busy process two take ten times as long, and alone they gain
# nothing on networks of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests import requirements
from tutelage import rare_collections  # noqa: F401  (at Python's own threshold a twelfth of the tests' seconds)
from tutelage.records.trial import TrialRecord

settings.register_profile("local", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get(requirements.VARIABLE) else "local")

CPU_LIMIT_S = 5.0  # of a test without the mark `slow`; nearly all take less than 0.1 s, and an import may come on top

SMALL_SPEC: dict[str, Any] = {
    "name": "small",
    "data": "digits",
    "teacher": {"model": {"convnet": {"width": 8, "depth": 2}}, "epochs": 6, "accept_weak": True},
    "student": {
        "epochs": 4,
        "model": {"choice": {"convnet": {"width": {"int": [2, 8]}, "depth": 2}, "mlp": {"hidden": {"int": [8, 64]}}}},
    },
    "distillation": {"temperature": {"float": [1, 8]}, "weight": {"float": [0, 0.9]}},
    "sparsity": {"amount": {"choice": [0.0, 0.5]}},
    "search": {"trials": 8, "concurrency": 1},
    "resources": {"latency": {"runtime": "torch"}},  # a file of ONNX takes a second a network
}


@pytest.hookimpl(optionalhook=True)  # xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return what gives tests to processes, where there are several."""
    from tests.sharing import SharedFixtures

    return SharedFixtures(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed every generator that a test may draw from: a test that passes once passes again, alone and among others."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that takes seconds without a mark for it, or that makes files of MLflow here.

    The seconds are of the processor, so other load on the machine does not make a test fail.
    """
    left = [item.config.rootpath / name for name in ("mlflow.db", "mlruns")]  # MLflow makes them where it is told of no place
    before = [path for path in left if path.exists()]
    started_s = time.thread_time()
    result = yield
    elapsed_s = time.thread_time() - started_s
    if made := [path.name for path in left if path.exists() and path not in before]:
        pytest.fail(f"{made[0]} was made in the repository, by this test or one beside it: name MLflow's store", pytrace=False)
    if elapsed_s > CPU_LIMIT_S and not {"slow", "ray", "browser"} & {*item.keywords}:
        pytest.fail(
            f"it took {elapsed_s:.1f} s of processor time; more than {CPU_LIMIT_S} s need the mark `slow`", pytrace=False
        )
    return result


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """The one cluster of a test run: two CPUs, as on the smallest machine that is supported.

    A process is ready for the next search's first actor: a second one is a start that the test waits for, so most searches of
    tests have `concurrency: 1`.
    """
    import ray

    from tutelage import environment
    from tutelage.data import digits
    from tutelage.training import spare_processes

    idle = {"RAY_num_workers_soft_limit": "6"}  # more end after a second, and the next test's task starts another
    with environment.set_to({**spare_processes.settings(2, digits), **idle}):
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        spare_processes.start(2)
        yield
        ray.shutdown()


@pytest.fixture
def nodes(ray_cluster: None) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster`, by which nodes of one CPU are added to the cluster of the test run, for one test."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(shutdown_at_exit=False)
    cluster.head_node = ray._private.worker.global_worker.node
    yield cluster
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)


@pytest.fixture(scope="session")
def small_spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A spec that a sweep finishes in seconds, with a storage of its own for the whole run."""
    return {**SMALL_SPEC, "storage": str(tmp_path_factory.mktemp("storage"))}


@pytest.fixture(scope="session")
def small_sweep(ray_cluster: None, small_spec: dict[str, Any]) -> Any:
    """A finished sweep over real digits, with a real teacher, real Ray and a real MLflow store. Read it, do not change it."""
    from tutelage.spec import loading
    from tutelage.sweep import pipeline

    return pipeline.sweep(loading.from_dict(small_spec))


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Make an empty MLflow store in a directory and return its URI: a copy, as MLflow takes half a second to create one."""
    import mlflow

    made = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{made}").search_experiments()

    def copied(directory: Path) -> str:
        shutil.copy(made, directory / "mlflow.db")
        return f"sqlite:///{directory / 'mlflow.db'}"

    return copied


@pytest.fixture(scope="session")
def context() -> Any:
    """Real digits, nobody taught."""
    from tutelage.training.context import TrainingContext

    return TrainingContext(data="digits", task="image_classification", seed=0)


@pytest.fixture(scope="session")
def few(context: Any) -> Any:
    """A quarter of the digits: eight steps an epoch."""
    found = replace(context)
    found.__dict__["splits"] = {name: split.head(256) for name, split in context.splits.items()}
    return found


@pytest.fixture(scope="session")
def taught(context: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The context taught by a perceptron that was not trained, whose answers lie in a cache."""
    from tests.contexts import with_plan
    from tutelage.networks import checkpoint

    home = tmp_path_factory.mktemp("knowledge")
    about = context.architecture("mlp")
    checkpoint.write(home / "teacher", checkpoint.seeded(about, 0), about)
    room = with_plan(context, home, dtype="float32")
    for split in ("train", "validation"):
        room.fill(split, 0)
    return room


@pytest.fixture
def make_record() -> Callable[..., TrialRecord]:
    """Make a finished record of a number and its measures."""

    def make(number: int, state: str = "finished", error: str = "", **measures: float) -> TrialRecord:
        return TrialRecord(
            number=number,
            state=state,  # type: ignore[arg-type]
            params={"student.model": "mlp", "distillation.temperature": 2.0},
            config={
                "student": {"model": "mlp", "epochs": 3},
                "distillation": {"temperature": 2.0, "weight": 0.5},
                "sparsity": {},
            },
            measures=measures,
            error=error,
        )

    return make


@pytest.fixture
def sleeping() -> Iterator[Callable[[str], Any]]:
    """Start a process that sleeps, with a mark of a cluster in its environment; it is killed after the test."""
    import psutil

    from tutelage.training import watchdog

    started: list[subprocess.Popen[bytes]] = []

    def start(mark: str) -> psutil.Process:
        code = [sys.executable, "-S", "-c", "import time; time.sleep(120)"]
        started.append(subprocess.Popen(code, env={**os.environ, watchdog.VARIABLE: mark}))
        return psutil.Process(started[-1].pid)

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module of a user's own and make it importable, for this test only."""
    written: list[str] = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)
