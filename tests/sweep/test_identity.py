"""What changes the address of a teacher, a student and their knowledge: fields of the spec, and files of the package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from tutelage import files
from tutelage.networks import checkpoint
from tutelage.spec import loading, spec
from tutelage.spec.sections import DistillationConfig, Section, SparsityConfig, StudentConfig
from tutelage.sweep import identity, knowledge, teacher_store
from tutelage.sweep.sources import PACKAGE, code_address, used
from tutelage.training.context import TrainingContext

BASE: dict[str, Any] = {
    "name": "base", "data": "digits", "augmentation": {"pad_px": 1},
    "teacher": {"model": "mlp", "source": {"data": "digits", "epochs": 1}},
    "student": {"model": "mlp", "initialise": "pretrained"}, "distillation": {"method": {"kd": {"standardise": False}}},
    "sparsity": {"method": "channels"}, "guard": {"max_drop": 0.05},
    "search": {"plateau": {"trials": 5}, "stopping": {"rule": "mo-asha"}, "objectives": ["accuracy", "params"]},
}  # fmt: skip
ALL, TEACHER, STUDENT, KNOWLEDGE = {"teacher", "student", "knowledge"}, {"teacher"}, {"student"}, {"knowledge"}
NONE: set[str] = set()
RECIPE: dict[str, Any] = {
    "epochs": 7, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.003, "schedule": "step", "weight_decay": 0.03,
    "label_smoothing": 0.1, "half_size_share": 0.5, "average_decay": 0.5, "model": "convnet",
    "execution": {"channels_last": True, "bfloat16": True, "compile": True},
}  # fmt: skip
OTHERWISE: dict[str, tuple[Any, set[str]]] = {  # another value of every field, and the addresses that it changes by itself
    "name": ("other", NONE),
    "seed": (1, ALL),
    "data": ({"digits": {"labelled_per_class": 5}}, NONE),  # the data's fingerprint changes all three
    "task": ({"image_classification": {}}, ALL),
    "augmentation.pad_px": (2, ALL), "augmentation.flip": (True, ALL), "augmentation.cutout_px": (2, ALL),
    "augmentation.mixup": (0.2, ALL),
    **{f"teacher.{name}": (value, TEACHER) for name, value in RECIPE.items() if name != "execution"},
    **{f"teacher.execution.{name}": (value, TEACHER) for name, value in RECIPE["execution"].items()},
    "teacher.source.data": ({"digits": {"labelled_per_class": 5}}, TEACHER), "teacher.source.epochs": (2, TEACHER),
    "teacher.source.learning_rate": (0.1, TEACHER),
    "teacher.required_quality": (0.5, NONE), "teacher.accept_weak": (True, NONE),
    "more_teachers": ([{"model": "mlp"}], NONE),  # their own addresses change the student's and the knowledge's
    "knowledge.mode": ("live", STUDENT), "knowledge.fill": ("first_use", NONE),
    "knowledge.dtype": ("float32", {*STUDENT, *KNOWLEDGE}),
    "knowledge.views": (2, STUDENT), "knowledge.top_k": (3, {*STUDENT, *KNOWLEDGE}),
    "knowledge.samples": (3, {*STUDENT, *KNOWLEDGE}),
    "knowledge.layers": (["2"], {*STUDENT, *KNOWLEDGE}), "knowledge.average": ("quality", {*STUDENT, *KNOWLEDGE}),
    "knowledge.max_bytes": (1e9, NONE), "knowledge.local_dir": ("/tmp", NONE),
    **{f"student.{name}": (value, STUDENT) for name, value in RECIPE.items() if name != "execution"},
    **{f"student.execution.{name}": (value, STUDENT) for name, value in RECIPE["execution"].items()},
    "student.initialise": ("random", STUDENT), "student.weights": ("weights.safetensors", STUDENT),
    "student.pretrain_epochs": (2, STUDENT),
    "student.fine_tune_epochs": (2, STUDENT),
    "student.layers": (["2"], STUDENT),
    "distillation.temperature": (2.0, STUDENT), "distillation.weight": (0.3, STUDENT),
    "distillation.method": ("similarity", {*STUDENT, *KNOWLEDGE}),  # it needs features, which are other knowledge
    "distillation.raw": (True, STUDENT),
    # That there is a guard changes the fingerprint of the data, and so all three.
    "guard.max_drop": (0.1, NONE), "guard.confidence": (0.9, NONE), "guard.against": ("best", NONE),
    "guard.disagreement": (0.1, NONE),
    "sparsity.quantise": (True, STUDENT),
    "sparsity.amount": (0.3, STUDENT), "sparsity.method": ({"channels": {}}, STUDENT),
    "sparsity.ladder.rungs": (3, STUDENT), "sparsity.ladder.recovery_epochs": (2, STUDENT),
    "sparsity.ladder.spacing": ("linear", STUDENT), "sparsity.ladder.amounts": ([0.1, 0.4], STUDENT),
    "sparsity.ladder.sandwich": (True, STUDENT),
}  # fmt: skip
HARMLESS = ("search", "resources", "select", "storage", "tracking")  # how long is searched, by whom, and where it is kept
# Such a teacher's address is the hash of its weights.
ELSEWHERE = ("teacher.path", "teacher.trust", "teacher.weights", "teacher.classes")


def section_in(annotation: Any) -> type[BaseModel] | None:
    found = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, Section)]
    return found[0] if found else None


def fields_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    searched = {"student": StudentConfig, "distillation": DistillationConfig, "sparsity": SparsityConfig}
    for name, field in model.model_fields.items():
        inner = f"{path}.{name}" if path else name
        section = searched.get(inner) or section_in(field.annotation)
        if section is None or inner == "more_teachers":
            yield inner
        else:
            yield from fields_of(section, inner)


FIELDS = [path for path in fields_of(spec.Spec) if path.split(".")[0] not in HARMLESS and path not in ELSEWHERE]


def base_of(path: str) -> dict[str, Any]:
    """Return the spec whose field `path` is changed: with a ladder for the fields of a ladder, at temperature 1 for draws."""
    if path == "knowledge.samples":
        return {**BASE, "distillation": {**BASE["distillation"], "temperature": 1.0}}
    ladder = {"method": "channels", "amount": 0.4, "ladder": {"rungs": 2, "recovery_epochs": 1}}
    return {**BASE, "sparsity": ladder} if path.startswith("sparsity.ladder.") else BASE


def changed(path: str, value: Any) -> spec.Spec:
    tree = deepcopy(base_of(path))
    *above, last = path.split(".")
    node = tree
    for name in above:
        node = node.setdefault(name, {})
    node[last] = value
    return loading.from_dict(tree)


@pytest.fixture(scope="module")
def teacher(context: TrainingContext, tmp_path_factory: pytest.TempPathFactory) -> teacher_store.Teacher:
    directory = tmp_path_factory.mktemp("teacher")
    about = context.architecture("mlp")
    checkpoint.write(directory, checkpoint.seeded(about, 0), about)
    return teacher_store.Teacher(directory=directory, address="t", measures={"accuracy": 0.5})


Addresses = Callable[[spec.Spec], dict[str, str]]


@pytest.fixture(scope="module")
def addresses(context: TrainingContext, teacher: teacher_store.Teacher) -> Addresses:
    def computed(spec: spec.Spec) -> dict[str, str]:
        config = spec.space.resolve(lambda name, domain: None)[0]
        plan = knowledge.knowledge_plan(spec, context, [teacher])
        assert plan.cache is not None
        return {
            "teacher": identity.teacher_address(spec, spec.teacher, context.fingerprint),
            "student": identity.student_address(spec, context, "t", config),
            "knowledge": plan.cache,
        }

    return computed


def test_every_field_of_the_spec_is_in_the_table() -> None:
    assert set(OTHERWISE) == set(FIELDS)


@pytest.mark.slow
@pytest.mark.parametrize("path", FIELDS)
def test_a_field_changes_the_addresses_of_what_it_can_change(path: str, addresses: Addresses) -> None:
    value, expected = OTHERWISE[path]
    before, after = addresses(loading.from_dict(base_of(path))), addresses(changed(path, value))
    assert {kind for kind in before if before[kind] != after[kind]} == expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("search.trials", 99), ("search.sampler", "random"), ("search.objectives", ["accuracy", "macs"]),
        ("search.stopping", None), ("resources.teacher.workers", 2), ("resources.trial.cpus", 2), ("select.policy", "min-size"),
        ("storage", "elsewhere"), ("tracking.experiment", "other"),
    ],
)  # fmt: skip
def test_settings_of_the_search_and_of_where_it_runs_change_no_address(path: str, value: Any, addresses: Addresses) -> None:
    assert addresses(loading.from_dict(BASE)) == addresses(changed(path, value))


def test_a_setting_left_out_is_its_default(addresses: Addresses) -> None:
    default = StudentConfig.model_fields["epochs"].default
    assert addresses(loading.from_dict(BASE)) == addresses(changed("student.epochs", default))


def test_other_data_or_another_teacher_are_another_student(context: TrainingContext) -> None:
    spec = loading.from_dict(BASE)
    config = spec.space.resolve(lambda name, domain: None)[0]
    assert identity.student_address(spec, context, "t", config) != identity.student_address(spec, context, "u", config)
    assert identity.teacher_address(spec, spec.teacher, "a") != identity.teacher_address(spec, spec.teacher, "b")


EDITS: dict[str, set[str]] = {  # a file of the package, and the addresses that an edit of it changes
    "report/sweep_page.py": NONE, "cli/sweeps.py": NONE, "console.py": NONE, "sweep/search.py": NONE, "search/sampler.py": NONE,
    "records/ledger.py": NONE, "spec/loading.py": NONE, "storage/local.py": NONE, "training/cluster.py": NONE,
    "losses/rkd.py": NONE, "models/vgg.py": NONE, "data/cifar.py": NONE, "tasks/tabular_classification.py": NONE,
    "training/loop.py": {"teacher", "student"}, "training/optimizers.py": {"teacher", "student"},
    "networks/inherit.py": {"teacher", "student"},
    "training/inference.py": ALL, "training/augment.py": ALL, "networks/capture.py": ALL, "signature.py": ALL,
    "data/digits.py": ALL, "data/_splitting.py": ALL, "data/_labels.py": ALL,
    "data/__init__.py": ALL, "tasks/image_classification.py": ALL,
    "tasks/_classification.py": ALL,
    "models/mlp.py": {"teacher", "knowledge"}, "models/convnet.py": STUDENT, "models/__init__.py": ALL,
    "losses/kd.py": STUDENT, "sparsity/channels.py": STUDENT, "sparsity/_sandwich.py": STUDENT,
}  # fmt: skip


def code_of(package: Path) -> dict[str, str]:
    """Return the code's hash for a perceptron that teaches a convolutional network on the digits."""
    data = used("data", "digits") | used("tasks", "image_classification")
    student = used("models", "convnet") | used("losses", {"kd": {}}) | used("sparsity", "channels")
    return {
        "teacher": code_address("training", data | used("models", "mlp"), package),
        "student": code_address("training", data | student, package),
        "knowledge": code_address("knowledge", data | used("models", "mlp"), package),
    }


def with_edit(directory: Path, edit: Callable[[str], str], *files: str) -> Path:
    """Return a copy of the package with these files edited; the others are links to the package's own."""
    package = directory / "tutelage"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"), copy_function=os.symlink)
    for file in files:
        text = (package / file).read_text()
        (package / file).unlink()
        (package / file).write_text(edit(text))
    return package


def more(text: str) -> str:
    return f"{text}\nADDED = 1\n"


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(file for file, kinds in EDITS.items() if kinds))
def test_an_edit_changes_the_addresses_of_what_the_file_can_change(file: str, tmp_path: Path) -> None:
    before, after = code_of(PACKAGE), code_of(with_edit(tmp_path, more, file))
    assert {kind for kind in before if before[kind] != after[kind]} == EDITS[file]


def test_edits_of_files_that_change_no_result_change_no_address(tmp_path: Path) -> None:
    assert code_of(PACKAGE) == code_of(with_edit(tmp_path, more, *(file for file, kinds in EDITS.items() if not kinds)))


def test_a_comment_or_a_docstring_changes_nothing(tmp_path: Path) -> None:
    other = '"""Another docstring."""\n# a comment\n'
    package = with_edit(tmp_path, lambda text: other + text.split('"""', 2)[2], "training/loop.py")
    assert code_of(package) == code_of(PACKAGE)


def test_a_users_module_and_the_files_that_it_imports_change_the_address(user_module: Callable[[str, str], None]) -> None:
    own = "from tutelage.losses import Loss, dkd\nfrom tutelage.plugins import PluginConfig\n\nclass Mine:\n    WEIGHT = {}\n"
    hashes = set()
    for number in (1, 2):
        user_module(f"own_loss_{number}", own.replace("{}", str(number)))
        (plugin,) = used("losses", f"own_loss_{number}:Mine")
        hashes.add(code_address("training", frozenset([plugin])))
    assert len(hashes) == 2 and code_address("training", frozenset()) not in hashes


OWN = {
    "net/__init__.py": "",
    "net/models.py": "from torch import nn\nfrom . import blocks\nfrom helpers.layers import layer\n",
    "net/blocks.py": "import importlib\nlate = importlib.import_module('late_import')\nWIDTH = 1\n",
    "helpers/layers.py": "from .deep.deeper import DEPTH\n\ndef layer(): return DEPTH\n",
    "helpers/deep/deeper.py": "DEPTH = 1\n",
    "late_import.py": "RATE = 1\n",
    "stranger.py": "OTHER = 1\n",
}


@pytest.mark.parametrize("file", OWN)
def test_an_edit_of_ones_own_code_or_of_what_it_imports_is_another_address(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is another at once, in the same process; a comment and a file that is not imported change nothing."""
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    plugin = frozenset([("models", "net.models:build")])
    before = code_address("training", plugin)
    (tmp_path / file).write_text(f"# a comment\n{OWN[file]}")
    assert code_address("training", plugin) == before
    (tmp_path / file).write_text(f"{OWN[file]}\nADDED = 1\n")
    assert (code_address("training", plugin) != before) is (file != "stranger.py")


def test_the_code_of_a_mixture_contains_that_of_its_terms() -> None:
    assert used("losses", {"mixture": {"terms": {"kd": 1.0, "own.losses:Mine": {"weight": 2.0}}}}) == {
        ("losses", "mixture"), ("losses", "kd"), ("losses", "own.losses:Mine"),
    }  # fmt: skip


def test_an_address_is_a_short_hash() -> None:
    assert len(files.content_address(a=1)) == 16


def test_an_address_depends_on_the_data(context: TrainingContext, teacher: teacher_store.Teacher) -> None:
    spec = loading.from_dict(BASE)
    config = spec.space.resolve(lambda name, domain: None)[0]
    other = replace(context)
    other.__dict__["fingerprint"] = "of other data"
    kept = [(teacher.address, teacher.directory, 1.0)]
    for address in (
        lambda room: identity.student_address(spec, room, "t", config),
        lambda room: identity.knowledge_address(spec, room, kept, [], 0),
        lambda room: identity.teacher_address(spec, spec.teacher, room.fingerprint),
    ):
        assert address(context) == address(replace(context)) != address(other)


def test_a_students_address_depends_on_the_weights_that_it_starts_from(
    context: TrainingContext, teacher: teacher_store.Teacher, tmp_path: Path
) -> None:
    spec, file = loading.from_dict(BASE), tmp_path / "w.safetensors"
    config = spec.space.resolve(lambda name, domain: None)[0]

    def address(start: Path | None) -> str:
        return identity.student_address(spec, replace(context, start=start), "t", config)

    shutil.copy(teacher.directory / checkpoint.WEIGHTS, file)
    assert address(None) != address(file) == address(teacher.directory)
    before = address(file)
    file.write_bytes(file.read_bytes() + b" ")
    assert address(file) != before


def test_an_address_depends_on_the_code(context: TrainingContext, teacher: teacher_store.Teacher, tmp_path: Path) -> None:
    spec = loading.from_dict(BASE)
    config = spec.space.resolve(lambda name, domain: None)[0]
    package = with_edit(tmp_path, more, "training/inference.py")
    kept = [(teacher.address, teacher.directory, 1.0)]
    assert identity.student_address(spec, context, "t", config) != identity.student_address(
        spec, context, "t", config, package=package
    )
    assert identity.teacher_address(spec, spec.teacher, "a") != identity.teacher_address(
        spec, spec.teacher, "a", package=package
    )
    assert identity.knowledge_address(spec, context, kept, [], 0) != identity.knowledge_address(
        spec, context, kept, [], 0, package=package
    )


def test_knowledge_depends_on_its_teachers_and_their_shares(context: TrainingContext, teacher: teacher_store.Teacher) -> None:
    spec = loading.from_dict(BASE)
    of_teachers = [
        [("t", teacher.directory, 1.0)], [("u", teacher.directory, 1.0)],
        [("t", teacher.directory, 1.0), ("u", teacher.directory, 1.0)],
        [("t", teacher.directory, 1.0), ("u", teacher.directory, 0.5)],
    ]  # fmt: skip
    assert len({identity.knowledge_address(spec, context, kept, [], 0) for kept in of_teachers}) == 4
