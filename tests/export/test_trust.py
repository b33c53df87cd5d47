"""Files that somebody sent: no code that they name is run unless the user's spec names it too, or the user says so."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from tests.plain import architecture_of, plain_signature
from tests.test_cli import run
from tutelage.errors import InputError
from tutelage.export import find, load, own_programs
from tutelage.export.forms import PROGRAM
from tutelage.files import sha256_of
from tutelage.networks import checkpoint, runtime
from tutelage.networks.program import program_bytes, program_of
from tutelage.networks.trust import EVERYTHING

SHAPE = (1, 2, 2)


def network(directory: Path, model: Any = "mlp", **more: Any) -> Path:
    """Write a network's weights, beside an architecture that names `model`."""
    about = architecture_of("mlp", SHAPE)
    checkpoint.write(directory, checkpoint.seeded(about, 0), about)
    (directory / checkpoint.ARCHITECTURE).write_text(json.dumps({**about, "model": model, **more}))
    return directory


def spec_file(path: Path, student: str = "mlp") -> Path:
    text = f"name: x\nstorage: {path / 'storage'}\ndata: digits\nteacher: {{model: mlp}}\nstudent: {{model: '{student}'}}\n"
    (path / "spec.yaml").write_text(f"{text}search: {{trials: 1}}\n")
    return path / "spec.yaml"


@pytest.mark.parametrize(
    "named",
    [
        {"model": {"subprocess:getoutput": {"cmd": "touch RAN"}}},
        {"model": {"os:system": {"command": "touch RAN"}}},
        {"model": "os:getcwd"},
        {"model": {"mlp": {"hidden": 8}}, "surgeries": [{"method": "os:system", "amount": 0.5, "surgery": {}}]},
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_code_that_only_the_files_name_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], named: dict[str, Any], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sent, last = network(tmp_path / "sent", **named), spec_file(tmp_path) if command == "evaluate" else tmp_path / "out"
    code, _, err = run(capsys, command, sent, last, "--storage", tmp_path / "storage")
    assert code == 2 and "code of its own" in err and "--trust" in err
    assert not (tmp_path / "RAN").exists()


def test_code_that_the_spec_names_too_is_run(tmp_path: Path, user_module: Any) -> None:
    user_module("mine_trusted", "from torch import nn\ndef Net(num_classes: int): return nn.Linear(4, num_classes)\n")
    about = architecture_of("mine_trusted:Net", (4,))
    checkpoint.write(tmp_path / "net", nn.Linear(4, 10), about)
    with pytest.raises(InputError, match="mine_trusted:Net"):
        load.read(tmp_path / "net")
    with pytest.raises(InputError, match="mine_trusted:Net"):
        checkpoint.read(tmp_path / "net", {"mine_trusted:Other"})
    for trusted in ({"mine_trusted:Net"}, EVERYTHING):
        assert load.read(tmp_path / "net", trusted).form == "weights"
        assert find.find_model(str(tmp_path / "net"), tmp_path, trusted=trusted).architecture == about


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '"mlp"', '{"model": "mlp", "signature": {"inputs": 3}}', '{"model": ["mlp"], "signature": 1}', "[" * 9999],
)
def test_an_unreadable_architecture_is_an_input_error(tmp_path: Path, text: str) -> None:
    sent = network(tmp_path / "sent")
    (sent / checkpoint.ARCHITECTURE).write_text(text)
    with pytest.raises(InputError, match=r"architecture\.json|sent"):
        load.read(sent)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    about = architecture_of({"mlp": {"hidden": 4}}, SHAPE)
    made = program_of(checkpoint.seeded(about, 0).eval(), plain_signature(SHAPE))
    (tmp_path / PROGRAM).write_bytes(program_bytes(made, runtime.described(about)))
    return tmp_path / PROGRAM


@pytest.mark.slow
def test_a_program_is_loaded_only_if_this_storage_exported_it_or_everything_is_trusted(program: Path) -> None:
    with pytest.raises(InputError, match="not exported with this storage"):
        load.read(program)
    storage = program.parent
    own_programs.record(storage, sha256_of(program))
    assert load.read(program, own_programs=own_programs.recorded(storage)).form == "program"
    assert load.read(program, EVERYTHING).form == "program"
    program.write_bytes(program.read_bytes() + b"\0")
    with pytest.raises(InputError, match="not exported with this storage"):
        load.read(program, own_programs=own_programs.recorded(storage))


@pytest.mark.slow
def test_the_guards_of_a_program_from_elsewhere_do_not_run(program: Path) -> None:
    planted = program.with_name("planted.pt2")
    ran = program.with_name("RAN")
    with zipfile.ZipFile(program) as good, zipfile.ZipFile(planted, "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            if name.endswith("models/model.json"):
                document = {**json.loads(content), "guards_code": [f"__import__('pathlib').Path({str(ran)!r}).touch() is None"]}
                content = json.dumps(document).encode()
            bad.writestr(name, content)
    with pytest.raises(InputError, match="--trust"):
        load.read(planted)
    assert not ran.exists()
    load.read(planted, EVERYTHING).module(torch.zeros(1, *SHAPE))
    assert ran.exists(), "torch no longer runs guards: programs need no trust then"


def test_an_onnx_file_whose_tensors_lie_elsewhere_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(torch.ones(4).numpy().tobytes())
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": "secret.bin", "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    value = onnx.helper.make_tensor_value_info("x", 1, ["batch", 4])
    constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    for initializers, nodes in (([tensor], []), ([], [constant])):
        add = onnx.helper.make_node("Add", ["x", "c" if nodes else "w"], ["y"])
        graph = onnx.helper.make_graph(
            [*nodes, add], "g", [value], [onnx.helper.make_tensor_value_info("y", 1, ["batch", 4])], initializers
        )
        (tmp_path / "sent.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
        with pytest.raises(InputError, match="in other files"):
            load.read(tmp_path / "sent.onnx")
