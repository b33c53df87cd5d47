"""Files that are no student, or more than one: refused with one message and exit code 2, before memory is taken."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import onnx
import pytest

from tests.export.test_trust import SHAPE, spec_file
from tests.plain import architecture_of, plain_signature
from tests.test_cli import run
from tutelage.errors import InputError
from tutelage.export import load
from tutelage.networks import checkpoint, runtime
from tutelage.networks.program import program_bytes, program_of
from tutelage.networks.trust import EVERYTHING

JUNK = {"empty": b"", "text": b"a text\n" * 20, "bytes": bytes(range(256)) * 4, "zip": b"PK\x03\x04" + bytes(60)}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    about = architecture_of({"mlp": {"hidden": 4}}, SHAPE)
    made = program_of(checkpoint.seeded(about, 0).eval(), plain_signature(SHAPE))
    path.write_bytes(program_bytes(made, runtime.described(about)))
    return path


def one_message(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that fails, and return the line that it prints."""
    code, out, err = run(capsys, *arguments)
    assert code == 2 and not out and "Traceback" not in err
    (line,) = err.strip().splitlines()
    return line


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("suffix", [load.PROGRAM, load.ONNX])
def test_junk_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, junk: str) -> None:
    sent, storage = tmp_path / f"sent{suffix}", tmp_path / "storage"
    sent.write_bytes(JUNK[junk])
    for trust in ([], ["--trust"]):
        line = one_message(capfd, "evaluate", sent, spec_file(tmp_path), "--storage", storage, *trust)
        assert str(sent) in line and "not a readable" in line
    assert str(sent) in one_message(capfd, "export", sent, tmp_path / "out", "--check", "--storage", storage)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_program_that_was_cut_short_is_an_error(program: Path, tmp_path: Path, kept: float) -> None:
    content = program.read_bytes()
    (tmp_path / "cut.pt2").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match="is not a readable"):
        load.read(tmp_path / "cut.pt2", EVERYTHING)


def test_a_program_that_torch_cannot_read_prints_no_traceback(program: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(program) as good, zipfile.ZipFile(tmp_path / "sent.pt2", "w") as bad:
        for name in good.namelist():
            if not name.endswith("version"):
                bad.writestr(name, good.read(name))
    logged, logger = list[logging.LogRecord](), logging.getLogger("torch.export")
    logger.addFilter(catch := lambda record: bool(logged.append(record)))  # its records reach no handler of pytest's
    try:
        with pytest.raises(InputError, match="is not a readable"):
            load.read(tmp_path / "sent.pt2", EVERYTHING)
    finally:
        logger.removeFilter(catch)
    assert not logged


def test_a_program_that_swells_is_not_unpacked(program: Path, tmp_path: Path) -> None:
    """An entry of 64 MiB in 64 kB: torch itself writes entries as they are."""
    with zipfile.ZipFile(program) as good, zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as bad:
        for name in good.namelist():
            content = good.read(name)
            bad.writestr(name, content + b" " * 2**26 if name.endswith("models/model.json") else content)
    assert (tmp_path / "bomb.pt2").stat().st_size < 2**20
    with pytest.raises(InputError, match=r"holds entries of 67,\d+,\d+ bytes in \d+,\d+, and is not unpacked"):
        load.read(tmp_path / "bomb.pt2", EVERYTHING)
    assert load.read(program, EVERYTHING).form == "program"


def graph(tmp_path: Path, tensor: onnx.TensorProto, *, is_sparse: bool = False) -> Path:
    """Write an ONNX file that adds a tensor to its input."""
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["batch", 4]) for name in "xy"]
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    made = onnx.helper.make_graph([add], "g", ends[:1], ends[1:], [] if is_sparse else [tensor])
    if is_sparse:
        places = onnx.helper.make_tensor("places", 7, [2], [0, 1])
        made.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, indices=places, dims=[4]))
    (tmp_path / "sent.onnx").write_bytes(onnx.helper.make_model(made).SerializeToString())
    return tmp_path / "sent.onnx"


@pytest.mark.parametrize("location", ["../../../../../../etc/passwd", "/etc/passwd", "beside.bin", "link.bin"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_no_file_that_an_onnx_file_names_is_read(tmp_path: Path, location: str, is_sparse: bool) -> None:
    (tmp_path / "beside.bin").write_bytes(bytes(16))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2 if is_sparse else 4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(InputError, match=r"keeps 1 tensors in other files \(w, …\), which are not read"):
        load.read(graph(tmp_path, tensor, is_sparse=is_sparse))


@pytest.mark.parametrize(
    ("dims", "content", "kind"),
    [([60000, 60000], b"", 1), ([4], b"1234", 1), ([-4], bytes(16), 1), ([4], bytes(16), 99), ([2**62, 4], bytes(16), 1)],
)
def test_a_tensor_that_is_not_as_it_is_stated_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], dims: list[int], content: bytes, kind: int
) -> None:
    sent = graph(tmp_path, onnx.TensorProto(name="w", data_type=kind, dims=dims, raw_data=content))
    line = one_message(capfd, "evaluate", sent, spec_file(tmp_path), "--storage", tmp_path / "storage")
    assert "is not a readable ONNX model" in line or "computes a tensor of" in line


def test_an_onnx_file_that_cannot_be_run_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its graph is valid, and its shapes agree with nothing but a batch of three."""
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["batch", *shape]) for name, shape in (("x", (1, 8, 8)), ("y", (10,)))]
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]), onnx.helper.make_node("MatMul", ["flat", "w"], ["product"]),
        onnx.helper.make_node("Add", ["product", "b"], ["y"]),
    ]  # fmt: skip
    held = [onnx.helper.make_tensor("w", 1, [64, 10], [0.0] * 640), onnx.helper.make_tensor("b", 1, [3, 10], [0.0] * 30)]
    made = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    (tmp_path / "sent.onnx").write_bytes(model.SerializeToString())
    arguments = ("evaluate", tmp_path / "sent.onnx", spec_file(tmp_path), "--storage", tmp_path / "storage")
    assert "cannot be run by onnxruntime" in one_message(capfd, *arguments)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", "1", "[" * 9999, '{"inputs": 3}', '{"inputs": [1], "outputs": []}', '{"inputs": {"a": 1}, "outputs": null}',
        '{"inputs": [{"name": "x", "kind": "vector", "shape": [4], "mean": [0], "std": [0]}], "outputs": []}',
        '{"inputs": [{"name": "x", "kind": "vector", "shape": [4], "mean": [NaN], "std": [1]}], "outputs": []}',
    ],
)  # fmt: skip
def test_an_unreadable_signature_in_an_onnx_file_is_an_error(tmp_path: Path, text: str) -> None:
    sent = graph(tmp_path, onnx.helper.make_tensor("w", 1, [4], [0.0] * 4))
    model = onnx.load(sent)
    onnx.helper.set_model_props(model, {"signature": text})
    onnx.save(model, sent)
    with pytest.raises(InputError, match=r"sent\.onnx"):
        load.read(sent)
