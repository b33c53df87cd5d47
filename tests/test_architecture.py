"""Which room may import which, which file is a library's door, and what importing the package must not cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "platform" / "tutelage"
DOORS = {  # a library, and the files or folders that may import it
    "ray": {
        "training/ray_train.py",
        "training/teacher_jobs.py",
        "training/knowledge_jobs.py",
        "training/student_jobs.py",
        "training/latency.py",
        "training/trial_workers.py",
        "training/cluster.py",
        "training/spare_processes.py",
        "training/ray_messages.py",
        "search/gate.py",
        "search/ray_trial.py",
        "search/ray_tune.py",
        "search/time_limit.py",
        "sweep/pipeline.py",
        "doctor.py",
        "search/leaving.py",
    },
    "optuna": {"search/sampler.py", "search/samplers"},
    "mlflow": {
        "records/tracker.py",
        "records/mlflow_store.py",
        "records/mlflow_writer.py",
        "records/mlflow_runs.py",
        "dashboard/candidate.py",
        "dashboard/cell.py",
        "dashboard/from_runs.py",
        "dashboard/mlflow_app.py",
        "dashboard/proxy.py",
        "dashboard/reader.py",
        "dashboard/serving.py",
        "export/registry.py",
        "export/logged_model.py",
    },
    "moocore": {"pareto.py"},
    "prometheus_client": {"records/metrics.py", "records/metrics_server.py"},
    "onnx": {"onnx_files.py", "networks/onnx_format.py", "networks/onnx_int8.py", "models/_onnx_graph.py"},
    "onnxruntime": {"onnx_files.py", "networks/onnx_int8.py"},
    "torch_pruning": {
        "sparsity/_tracing.py",
        "sparsity/_kept_channels.py",
        "sparsity/channels.py",
        "sparsity/_ranking.py",
        "sparsity/_scores.py",
        "sparsity/_coupled.py",
    },
    "typer": {"cli", "console.py"},
    "transformers": {"models/_hf_directory.py"},
    "tokenizers": {"models/_tokenizer_file.py"},
}
GROUND = {
    "errors",
    "plugins",
    "validation",
    "files",
    "foreign",
    "environment",
    "escaping",
    "initial_weights",
    "intervals",
    "non_inferiority",
    "masks",
    "measure",
    "objectives",
    "onnx_files",
    "outputs",
    "pareto",
    "redaction",
    "placement",
    "rare_collections",
    "signals",
    "signature",
    "worker_loss",
}
ROOF = {"__init__", "__main__", "api", "cli", "console", "doctor", "notebook", "progress", "watch"}
ROOMS = {  # a room, and the rooms that it may import beside the ground and storage; the roof imports all of them
    "storage": set(),
    "spec": set(),
    "data": set(),
    "models": set(),
    "sparsity": {"networks"},
    "measures": set(),
    "tasks": {"data", "measures"},
    "networks": {"tasks", "data"},
    "losses": {"networks"},
    "records": {"spec"},
    "policies": {"records"},
    "report": {"records", "spec"},
    "dashboard": {"networks", "policies", "records", "report", "spec"},
    "search": {"records", "spec"},
    "training": {"data", "losses", "measures", "models", "networks", "records", "sparsity", "spec", "tasks"},
    "export": {"data", "measures", "networks", "records", "spec", "tasks", "training"},
    "selection": {"dashboard", "data", "export", "networks", "policies", "records", "report", "spec", "tasks", "training"},
    "sweep": {
        "dashboard",
        "data",
        "export",
        "losses",
        "networks",
        "records",
        "report",
        "search",
        "selection",
        "sparsity",
        "spec",
        "tasks",
        "training",
    },
}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@cache
def tree_of(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


@cache
def imports(file: str) -> list[str]:
    """Return the full names of what a file of the package imports."""
    found = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def room_of(file: str) -> str:
    """Return a file's room: its folder, or `ground` or `roof`."""
    stem = file.split("/")[0].removesuffix(".py")
    return "ground" if stem in GROUND else "roof" if stem in ROOF else stem


def imported_rooms(file: str) -> set[str]:
    """Return the rooms of the package that a file imports, its own left out."""
    own = [name.split(".")[1] for name in imports(file) if name.startswith("tutelage.")]
    return {room_of(name) for name in own} - {room_of(file)}


def test_a_library_is_imported_by_its_own_files_only() -> None:
    used = {file: {name.split(".")[0] for name in imports(file)} for file in FILES}
    assert [
        (file, library)
        for file in FILES
        for library, doors in DOORS.items()
        if library in used[file] and not doors & {file, file.split("/")[0], file.rpartition("/")[0]}
    ] == []


def allowed_rooms(room: str) -> set[str]:
    ends = {"ground": set(), "roof": {"ground", *ROOMS}}
    return ends[room] if room in ends else {"ground", "storage", *ROOMS[room]}


def test_a_room_imports_only_rooms_below_it() -> None:
    assert {file: above for file in FILES if (above := imported_rooms(file) - allowed_rooms(room_of(file)))} == {}


def test_the_table_of_rooms_has_no_circle() -> None:
    left = {room: set(below) for room, below in ROOMS.items()}
    while free := [room for room, below in left.items() if not below]:
        left = {room: below - set(free) for room, below in left.items() if room not in free}
    assert not left


def test_no_file_imports_itself_through_others() -> None:
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}
    graph = {}
    for file in FILES:
        tails = [name.removeprefix("tutelage.") for name in imports(file) if name.startswith("tutelage.")]
        graph[file] = {modules.get(tail) or modules.get(tail.rpartition(".")[0]) for tail in tails} - {None, file}
    while free := {file for file, below in graph.items() if not below & graph.keys()}:
        graph = {file: below for file, below in graph.items() if file not in free}
    assert not graph


def test_the_source_root_does_not_hide_the_standard_library() -> None:
    root = PACKAGE.parent
    assert not (root / "__init__.py").exists()
    assert not list(root.glob("*.py"))
    command = [sys.executable, "-c", "import platform; print(platform.python_version())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root.parent)
    assert done.stdout.startswith("3.")


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    heavy = "('torch', 'ray', 'mlflow', 'optuna')"
    code = f"import sys, tutelage, tutelage.cli, tutelage.spec.loading; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_those_of_the_api_whatever_was_imported_before() -> None:
    import tutelage
    from tutelage import api
    from tutelage.sweep import pipeline

    assert pipeline
    for name in tutelage.__all__:
        assert getattr(tutelage, name) is getattr(api, name)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_the_pages_about_the_package_have_every_room(page: str) -> None:
    rows = [line for line in (PACKAGE.parents[1] / page).read_text().splitlines() if line.startswith("| ")]
    missing = [room for room in ROOMS if not any(f"`{room}/`" in row.split("|")[1] for row in rows)]
    assert not missing


def test_the_drawing_of_the_package_has_every_file_of_the_ground() -> None:
    _, found, below = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text().partition("    ground  ")
    assert found and set(below.partition("\n\n")[0].split()) == GROUND


@pytest.mark.slow
def test_a_worker_imports_only_what_trains() -> None:
    """Every process of a cluster pays for its imports; with these ones a search's first student waited seconds longer."""
    heavy = "{'mlflow', 'optuna', 'sklearn', 'scipy.stats', 'matplotlib', 'plotly', 'onnx', 'moocore'}"
    code = f"import sys, tutelage.search.ray_trial, tutelage.training.student_jobs; print([*{heavy} & sys.modules.keys()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_path_is_joined_onto_a_storage_outside_of_its_room() -> None:
    """Places in a storage are keys of its verbs, so that another kind of storage is one file."""
    assert [
        (file, node.lineno)
        for file in FILES
        if not file.startswith("storage/")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and {"storage", "storage_path"} & {*names_in(node.left)}
    ] == []


def test_no_duration_is_measured_by_the_time_of_day() -> None:
    """The clock of a machine is corrected while a sweep runs; `time.monotonic` is not."""
    assert [
        (file, node.lineno)
        for file in FILES
        if file != "doctor.py"  # compares the clocks of nodes
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Compare) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub))
        if "time.time()" in ast.unparse(node)
    ] == []


def names_in(node: ast.AST) -> list[str]:
    """Return the names and attributes that an expression is made of, but for those of a call's arguments."""
    if isinstance(node, ast.Call):
        return (
            names_in(node.func) if not (isinstance(node.func, ast.Name) and node.func.id == "Path") else names_in(node.args[0])
        )
    if isinstance(node, ast.Attribute):
        return [node.attr, *names_in(node.value)]
    if isinstance(node, ast.BinOp):
        return [*names_in(node.left), *names_in(node.right)]
    return [node.id] if isinstance(node, ast.Name) else []
