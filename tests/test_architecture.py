"""Who may import whom, and what importing the package must not cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "platform" / "tutelage"
DOORS = {  # a library, and the files that may import it
    "ray": {"jobs.py", "search/tune.py", "pipeline.py", "doctor.py"},
    "optuna": {"search/sampler.py"},
    "mlflow": {"tracking.py", "mlflow_writer.py", "registry.py"},
    "moocore": {"pareto.py"},
    "onnx": {"onnx_form.py"},
    "onnxruntime": {"onnx_form.py"},
    "torch_pruning": {"sparsity/channels.py"},
    "typer": {"cli.py", "printing.py"},
}
LAYERS = [  # a module may import its own layer and those above it in this list
    {"errors", "files", "intervals", "lineage", "mlflow_values", "problems", "safe_pickle", "spool", "variables"},
    {
        "plugins",
        "space",
        "objectives",
        "pareto",
        "spec_yaml",
        "spec_sections",
        "spec_objectives",
        "inherit",
        "grids",
        "sparse_labels",
        "vectors",
    },
    {"record", "policies", "spec", "spec_schema", "selection", "confirmations", "confirming", "store"},
    {"tasks", "data", "models", "losses", "sparsity", "splitting"},
    {
        "augment",
        "average",
        "baseline",
        "clean_process",
        "compare_view",
        "deployed",
        "measure",
        "mlflow_writer",
        "muon",
        "network",
        "onnx_form",
        "outbox",
        "shared_norm",
        "watching",
    },
    {"answers", "knowledge", "optimisation", "ensemble"},
    {"training", "classroom"},
    {"execution"},
    {"student", "export", "model_card", "quantised", "read_back"},
    {"jobs", "search", "tracking", "registry", "report", "report_page", "importance", "compare_page", "opening", "verdict"},
    {"book", "foreign"},
    {"teaching"},
    {"imparting", "warming", "retraining", "confirmed_front"},
    {"searching"},
    {"pipeline"},
    {"capacity_gap", "reporting", "promoting"},
    {"choosing", "planning", "resuming", "comparing", "deliver", "documents", "doctor", "progress"},
    {"printing"},
    {"api", "cli", "__init__"},
]
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def layer_of(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("file", FILES)
def test_libraries_come_in_by_their_door(file: str) -> None:
    used = {name.split(".")[0] for name in imports(PACKAGE / file)}
    trespassing = {library for library, doors in DOORS.items() if library in used and file not in doors}
    assert not trespassing


@pytest.mark.parametrize("file", FILES)
def test_imports_go_one_way(file: str) -> None:
    own = layer_of(file.split("/")[0].removesuffix(".py"))
    for name in imports(PACKAGE / file):
        parts = name.split(".")
        if parts[0] == "tutelage" and len(parts) > 1 and parts[1] not in ("errors",):
            module = parts[1]
            known = any(module in names for names in LAYERS)
            assert not known or layer_of(module) <= own, f"{file} imports {name}"


def test_search_and_tracking_do_not_know_each_other() -> None:
    for file in FILES:
        if file.startswith("search/"):
            assert not any("tracking" in name for name in imports(PACKAGE / file)), file
    assert not any("tutelage.search" in name for name in imports(PACKAGE / "tracking.py"))


def test_the_source_root_does_not_hide_the_standard_library() -> None:
    root = PACKAGE.parent
    assert not (root / "__init__.py").exists()
    assert not list(root.glob("*.py"))
    command = [sys.executable, "-c", "import platform; print(platform.python_version())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root.parent)
    assert done.stdout.startswith("3.")


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    heavy = "('torch', 'ray', 'mlflow', 'optuna')"
    code = f"import sys, tutelage, tutelage.cli, tutelage.spec; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there() -> None:
    import tutelage

    for name in tutelage.__all__:
        assert getattr(tutelage, name) is not None
