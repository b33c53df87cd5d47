"""Networks in ONNX files: what they compute is what onnxruntime computes, in our classes, at our steps."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

from tests import onnx_networks
from tests.onnx_networks import HEIGHT_PX, STEP_PX
from tests.plain import SENTENCES, plain_signature
from tutelage import plugins
from tutelage.errors import InputError, TutelageError, UnreachableError
from tutelage.networks import checkpoint, cost, stages
from tutelage.networks.program import program_of
from tutelage.signature import BLANK_NAME, InputSpec, OutputSpec, Signature

HEIGHT = 4
LINE = InputSpec(name="columns", kind="frames", shape=("columns_steps", 1, HEIGHT), steps=16, mean=(127.5,), std=(127.5,))
SIGNATURE = Signature(inputs=(LINE,), outputs=(OutputSpec(name="characters", names=(BLANK_NAME, "b", "a"), steps="columns"),))
OPTIONS = {"path": onnx_networks.small()}


def build(signature: Signature = SIGNATURE, **options: Any) -> Any:
    return checkpoint.build({"model": {"onnx": options}, "signature": signature.document()}).eval()


def run(path: Path | str, **inputs: Tensor) -> dict[str, Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: tensor.contiguous().numpy() for name, tensor in inputs.items()})
    return dict(zip([one.name for one in session.get_outputs()], map(torch.from_numpy, found), strict=True))


def lines(count: int, columns: int) -> tuple[Tensor, Tensor]:
    values = torch.randn(count, columns, 1, HEIGHT, generator=torch.Generator().manual_seed(columns))
    return values, torch.ones(count, columns, dtype=torch.bool)


def test_a_lines_steps_are_those_of_onnxruntime_in_our_classes() -> None:
    """A step has four pixels at a height of six, so two of our columns at a height of four is nearest in proportion."""
    columns, mask = lines(2, 7)
    model = build(**OPTIONS)
    assert (model.stride, model.step_px) == (2, STEP_PX)
    found = model(columns, mask)["characters"]
    whole = functional.pad(columns.permute(0, 2, 3, 1), (0, 1, 0, 0), mode="replicate")
    image = functional.interpolate(whole, size=(HEIGHT_PX, 4 * STEP_PX), mode="bilinear").expand(-1, 3, -1, -1)
    for row in range(2):
        expected = run(OPTIONS["path"], x=image[row : row + 1])["probabilities"][0]
        chosen = expected[:, [0, 2, 1]]  # the blank, b and a; the space is no class of the data
        torch.testing.assert_close(found[row].softmax(dim=1), chosen / chosen.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
@settings(max_examples=10, deadline=None)
@given(
    widths=st.lists(st.integers(1, 17), min_size=1, max_size=4), more=st.integers(0, 9),
    filling=st.sampled_from([float("nan"), float("inf"), 1e3]),
)  # fmt: skip
def test_padding_changes_no_output(stride: int, widths: list[int], more: int, filling: float) -> None:
    model = build(**OPTIONS, stride=stride)
    mask = torch.arange(max(widths) + more) < torch.tensor(widths).unsqueeze(1)
    columns = lines(len(widths), max(widths) + more)[0]
    found = model(columns.where(mask[:, :, None, None], filling), mask)["characters"]
    assert found.shape == (len(widths), -(-mask.shape[1] // stride), 3)
    for row, width in enumerate(widths):
        alone = model(columns[row : row + 1, :width], mask[row : row + 1, :width])["characters"]
        assert alone.shape[1] == -(-width // stride)
        assert torch.equal(found[row, : alone.shape[1]], alone[0])


def test_tensors_of_the_graph_are_stages_with_a_position_a_step() -> None:
    model = build(**OPTIONS, features=["maps", "features"])
    outline = stages.outline_of(model, SIGNATURE)
    assert [(one.name, one.grid, one.channels, one.has_steps) for one in outline.stages] == [
        ("stage1", (8,), 5, True), ("stage2", (8,), 5, True),
    ]  # fmt: skip
    last = "The last ones that it computes are .*'features', 'logits', 'probabilities'"
    with pytest.raises(InputError, match=rf"computes no tensor 'feature'. Did you mean 'features'\? {last}"):
        build(**OPTIONS, features=["feature"])


def test_a_network_of_images_has_its_own_normalisation_channels_and_size(tmp_path: Path) -> None:
    path = onnx_networks.images(tmp_path / "net.onnx", channels=3, sizes=(12, 8))
    spec = InputSpec(name="inputs", kind="image", shape=(1, 6, 4), mean=(10.0,), std=(20.0,))
    signature = Signature(inputs=(spec,), outputs=plain_signature().outputs)
    means, stds = [100.0, 110.0, 120.0], [50.0, 60.0, 70.0]
    images = torch.randn(2, 1, 6, 4, generator=torch.Generator().manual_seed(0))
    stored = (images * 20 + 10).expand(-1, 3, -1, -1)
    own = (stored - torch.tensor(means).view(3, 1, 1)) / torch.tensor(stds).view(3, 1, 1)
    expected = run(path, x=functional.interpolate(own, size=(12, 8), mode="bilinear"))["y"]
    found = build(signature, path=str(path), mean=means, std=stds, features=["features"])
    torch.testing.assert_close(found(images), expected, atol=1e-5, rtol=1e-4)
    assert [(one.grid, one.channels) for one in stages.outline_of(found, signature).stages] == [((12, 8), 4)]
    for wrong in ({"mean": [1.0]}, {"mean": [1.0], "std": [0.0]}):
        with pytest.raises(InputError, match="mean and std have as many numbers, and those of std are above 0"):
            build(signature, path=str(path), **wrong)
    with pytest.raises(InputError, match=r"2 numbers are given as mean and std, and the network takes 3 channels. Give one"):
        build(signature, path=str(path), mean=[1.0, 2.0], std=[1.0, 2.0])


def test_a_network_of_one_example_is_called_for_each_of_a_batch(tmp_path: Path) -> None:
    free = onnx_networks.images(tmp_path / "net.onnx")
    model = onnx.load(free)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "one.onnx")
    signature, images = plain_signature(), torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one = build(signature, path=str(tmp_path / "one.onnx"), features=["features"])
    torch.testing.assert_close(one(images), build(signature, path=str(free))(images))
    assert [stage.grid for stage in stages.outline_of(one, signature).stages] == [(8, 8)]
    assert one.macs_for([images]) == 3 * one.macs_for([images[:1]])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, tmp_path / "four.onnx")
    refused(
        "takes batches of 4 only. Export it for any number of examples, or for one", signature, path=str(tmp_path / "four.onnx")
    )


def test_a_size_of_minus_one_is_a_free_one(tmp_path: Path) -> None:
    free = onnx_networks.images(tmp_path / "net.onnx")
    model = onnx.load(free)
    for place in (0, 2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = -1
    onnx.save(model, tmp_path / "minus.onnx")
    signature, images = plain_signature(), torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = build(signature, path=str(tmp_path / "minus.onnx"))(images)
    assert torch.equal(found, build(signature, path=str(free))(images))


def test_weights_are_counted_and_products_too(tmp_path: Path) -> None:
    """A convolution of 4·9 factors for each of 64 pixels, and a matrix of 4 × 10; the constants of a graph are weights too."""
    path = onnx_networks.images(tmp_path / "net.onnx")
    signature = plain_signature()
    model = build(signature, path=str(path))
    assert cost.size(model)["params"] == cost.size(model)["nonzero_params"] == 4 * 9 + 40
    assert cost.macs(model, signature) == {"macs": 64 * 36 + 40}
    held = onnx.load(path)
    for tensor in list(held.graph.initializer):
        held.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del held.graph.initializer[:]
    onnx.save(held, tmp_path / "constants.onnx")
    other = build(signature, path=str(tmp_path / "constants.onnx"))
    assert cost.size(other)["params"] == 76
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(other(images), model(images))


@pytest.mark.parametrize(("attributes", "shapes", "macs"), [
    ({"op_type": "ConvTranspose"}, ((1, 2, 3, 3), (2, 5, 2, 2)), 18 * 5 * 4),
    ({"op_type": "Conv", "group": 2}, ((1, 4, 3, 3), (6, 2, 3, 3)), 6 * 2 * 9),
    ({"op_type": "MatMul"}, ((2, 3, 4), (2, 4, 5)), 2 * 3 * 4 * 5),
    ({"op_type": "Gemm", "transA": 1}, ((4, 3), (4, 5)), 3 * 4 * 5),
    ({"op_type": "GRU", "hidden_size": 3}, ((7, 1, 2), (1, 9, 2), (1, 9, 3)), 7 * (18 + 27)),
])  # fmt: skip
@pytest.mark.parametrize("are_computed", [False, True], ids=["stored weights", "computed weights"])
def test_products_are_counted_by_the_formula_of_each_operator(
    tmp_path: Path, attributes: dict[str, Any], shapes: tuple[tuple[int, ...], ...], macs: int, are_computed: bool
) -> None:
    from tutelage import onnx_files
    from tutelage.models._onnx_graph import Graph

    first, *others = shapes
    weights = {f"w{number}": onnx_networks.numbers(*shape) for number, shape in enumerate(others)}
    factors = {name: f"{name} again" if are_computed else name for name in weights}
    nodes = [helper.make_node("Identity", [name], [factor]) for name, factor in factors.items() if are_computed]
    nodes.append(helper.make_node(inputs=["x", *factors.values()], outputs=["y"], **attributes))
    path = onnx_networks.saved(tmp_path / "one.onnx", nodes, {"x": first, "y": ["free"] * 4}, weights)
    model = onnx_files.read(path)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert Graph(model, path).macs(torch.zeros(first)) == macs


def test_a_stored_network_is_the_one_that_was_read_whatever_its_file_is_now(tmp_path: Path) -> None:
    path = onnx_networks.recogniser(tmp_path / "net.onnx")
    architecture = {"version": 2, "model": {"onnx": {"path": str(path)}}, "signature": SIGNATURE.document()}
    model, example = build(path=str(path)), lines(2, 9)
    checkpoint.write(tmp_path / "stored", model, architecture)
    held = onnx.load(path)
    next(node for node in held.graph.node if node.op_type == "Add").op_type = "Sub"
    held.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(onnx_networks.numbers(5, 3, 6, 4, seed=7), "kernel"))
    onnx.save(held, path)
    read, _ = checkpoint.read(tmp_path / "stored")
    assert torch.equal(read(*example)["characters"], model(*example)["characters"])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(*example)["characters"], model(*example)["characters"])


def test_weights_that_are_loaded_are_those_that_are_run() -> None:
    model, example = build(**OPTIONS), lines(1, 8)
    before = model(*example)["characters"]
    with torch.no_grad():
        model.load_state_dict({name: t * 0 if t.is_floating_point() else t for name, t in model.state_dict().items()})
    assert before.std() > 0 and not model(*example)["characters"].diff().any()


def refused(match: str, signature: Signature = SIGNATURE, **options: Any) -> None:
    with pytest.raises(InputError, match=match):
        build(signature, **options)


def with_characters(names: str) -> Signature:
    return Signature(inputs=(LINE,), outputs=(OutputSpec(name="characters", names=(BLANK_NAME, *names), steps="columns"),))


def test_classes_are_mapped_by_name_or_the_missing_ones_named(tmp_path: Path) -> None:
    unnamed = onnx_networks.images(tmp_path / "net.onnx", classes=3)
    signature = plain_signature(names=("cat", "dog"))
    refused(
        "has 3 classes, and the data have 2. Name them in the order of its outputs, by 'classes'", signature, path=str(unnamed)
    )
    refused("has 3 classes, and 2 names are given", signature, path=str(unnamed), classes=["cat", "dog"])
    refused(
        "lacks the classes 'cat' of 'class'. Did you mean 'cats'?", signature, path=str(unnamed), classes=["dog", "cats", "x"]
    )
    (tmp_path / "names.txt").write_text("dog\ncow\ncat\n", encoding="utf-8")
    images = torch.randn(2, 1, 8, 8)
    found = build(signature, path=str(unnamed), classes_path=str(tmp_path / "names.txt"))(images)
    assert torch.equal(found, run(unnamed, x=images)["y"][:, [2, 0]])
    refused("give either 'classes' or 'classes_path'", signature, path=str(unnamed), classes=["a"], classes_path="b")
    refused("names.text: not there", signature, path=str(unnamed), classes_path=str(tmp_path / "names.text"))
    for content, message in (
        ("dog\ncow\ncat\n\n", r"line 4 of 4 is empty.* Remove it"), ("\ndog\n\n", "line 1, 3 of 3 is"), ("", "txt: is empty"),
    ):  # fmt: skip
        (tmp_path / "names.txt").write_text(content, encoding="utf-8")
        refused(message, signature, path=str(unnamed), classes_path=str(tmp_path / "names.txt"))
    refused("lacks the classes 'c', 'd' of 'characters'", with_characters("abcd"), **OPTIONS)
    assert build(with_characters("a b"), **OPTIONS).columns == [0, 1, 3, 2], "the space is the last one"
    twice = ["crane", "dog", "crane"]
    assert build(plain_signature(names=("dog",)), path=str(unnamed), classes=twice).columns == [1], "of those of the data"
    refused(
        "several outputs of the network are called 'crane'", plain_signature(names=("dog", "crane")), path=str(unnamed),
        classes=twice,
    )  # fmt: skip


def test_the_blank_may_stand_elsewhere_and_names_may_have_it() -> None:
    assert build(**OPTIONS, classes=["x", "b", "a"], blank=3).columns == [3, 1, 2]
    assert build(**OPTIONS, classes=["x", "b", BLANK_NAME, "a"]).columns == [2, 1, 3]
    assert build(**OPTIONS, classes=["b", "a"], blank=3).columns == [3, 0, 1], "behind the space, which has no name"
    refused("blank 4 is no place among the network's 4 classes, which begin at 0", **OPTIONS, classes=["x", "b", "a"], blank=4)


def test_logits_stay_logits_and_probabilities_become_logarithms(tmp_path: Path) -> None:
    model = build(plain_signature(), path=str(onnx_networks.images(tmp_path / "net.onnx")))
    assert not model.are_probabilities and build(**OPTIONS).are_probabilities
    assert model.logits(torch.zeros(1, 10)).isfinite().all()
    model.are_probabilities = True
    assert model.logits(torch.zeros(1, 10)).isfinite().all(), "a probability that is rounded to 0"


def test_files_that_are_no_network_are_errors(tmp_path: Path) -> None:
    refused("nothing.onnx: not there", path=str(tmp_path / "nothing.onnx"))
    refused("is a folder. Give an .onnx file; an exported folder is a teacher by teacher.path", path=str(tmp_path))
    (tmp_path / "net.onnx").write_bytes(pickle.dumps({"a": 1}))
    refused("net.onnx is not a readable ONNX model", path=str(tmp_path / "net.onnx"))
    (tmp_path / "empty.onnx").write_bytes(b"")
    refused("empty.onnx: has no weights", path=str(tmp_path / "empty.onnx"))
    whole = onnx.load(onnx_networks.recogniser(tmp_path / "whole.onnx"))
    onnx.save(whole, tmp_path / "parts.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    refused(r"parts.onnx keeps \d+ tensors in other files", path=str(tmp_path / "parts.onnx"))
    refused("give either 'path', an .onnx file, or 'package'")
    refused("'file' names one of the files of a 'package'", **OPTIONS, file="a.onnx")


def test_a_package_is_searched_for_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "reader_of_lines" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise SystemExit('this code is not run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    refused("has the .onnx files none. Name one by 'file'", package="reader_of_lines")
    onnx_networks.recogniser(folder / "a.onnx")
    assert build(package="reader_of_lines").stride == 2
    onnx_networks.recogniser(folder / "b.onnx")
    refused("has the .onnx files a.onnx, b.onnx. Name one by 'file'", package="reader_of_lines")
    assert build(package="reader_of_lines", file="b.onnx").stride == 2
    refused(r"has no file b.onx. Did you mean 'b.onnx'\?", package="reader_of_lines", file="b.onx")
    with pytest.raises(UnreachableError, match="package no_such_reader is not installed"):
        build(package="no_such_reader")


def test_inputs_and_outputs_of_another_form_are_errors(tmp_path: Path) -> None:
    path = str(onnx_networks.images(tmp_path / "net.onnx", channels=3))
    refused("takes images of 3 channels, and the data have 2. Channels are the second", plain_signature((2, 8, 8)), path=path)
    refused("takes tensors of 4 dimensions, and a batch of the data's vector examples has 2", plain_signature((7,)), path=path)
    refused("no signature of Tutelage, and the data are tokens", SENTENCES, path=path)
    fixed = str(onnx_networks.images(tmp_path / "fixed.onnx", sizes=(4, 32)))
    refused("takes lines of 4 × 32 pixels; it must take any width", path=fixed)
    refused("takes lines of 6 × any pixels", **OPTIONS, height_px=8)
    refused(r"'y' is \(1, 10\) for one line, and must be \[1, steps, classes\]", path=path)
    several = onnx.load(OPTIONS["path"])
    several.graph.output.add().CopyFrom(helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", "s", 4]))
    onnx.save(several, tmp_path / "several.onnx")
    refused("has the outputs probabilities, logits. Name the one with the classes", path=str(tmp_path / "several.onnx"))
    chosen = build(path=str(tmp_path / "several.onnx"), output="logits")
    example = lines(2, 5)
    expected = build(**OPTIONS)(*example)["characters"].softmax(dim=2)
    torch.testing.assert_close(chosen(*example)["characters"].softmax(dim=2), expected)


def test_a_graph_that_fails_as_it_runs_is_an_error(tmp_path: Path) -> None:
    path = onnx_networks.images(tmp_path / "net.onnx", channels=3)
    graph = build(plain_signature((3, 8, 8)), path=str(path)).graph
    with pytest.raises(InputError, match=r"net.onnx cannot be run by onnxruntime"):
        graph(torch.zeros(1, 2, 8, 8))


def test_a_file_is_not_exported_again() -> None:
    with pytest.raises(TutelageError, match=r"lines.onnx: is an ONNX file already, which onnxruntime runs"):
        program_of(build(**OPTIONS), SIGNATURE)


def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    _, plugin, config = plugins.configure("models", {"onnx": {"path": str(onnx_networks.images(tmp_path / "net.onnx"))}})
    before = plugin.fingerprint(config)
    onnx_networks.images(tmp_path / "net.onnx", classes=9)
    assert plugin.fingerprint(config) != before
    assert plugin.is_trained(config) and plugin.is_frozen(config)
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    named = config.model_copy(update={"classes_path": str(names)})
    before = plugin.fingerprint(named)
    names.write_text("b\na\n")
    assert plugin.fingerprint(named) != before, "in another order, the same outputs are other classes"


def test_arguments_on_the_meta_device_have_outputs_there() -> None:
    model = build(**OPTIONS)
    columns, mask = (one.to("meta") for one in lines(2, 9))
    found = model(columns, mask)["characters"]
    assert found.is_meta and found.shape == (2, 5, 3)
    assert isinstance(model, nn.Module) and np.isfinite(cost.macs(model, SIGNATURE)["macs"])


def test_a_deviation_of_pixels_from_0_to_1_is_an_error_for_data_from_0_to_255(tmp_path: Path) -> None:
    path = str(onnx_networks.images(tmp_path / "net.onnx", channels=3))
    spec = InputSpec(name="inputs", kind="image", shape=(3, 8, 8), mean=(120.0,) * 3, std=(60.0,) * 3)
    signature = Signature(inputs=(spec,), outputs=plain_signature().outputs)
    means, stds = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    refused(
        r"std 0.229, 0.224, 0.225 is that of .* the data's is 60. .* multiply them", signature, path=path, mean=means, std=stds
    )
    build(signature, path=path, mean=[255 * one for one in means], std=[255 * one for one in stds])
    build(signature, path=path, mean=[0.0], std=[1.0])
    small = Signature(
        inputs=(InputSpec(name="inputs", kind="image", shape=(3, 8, 8), mean=(0.4,) * 3, std=(0.2,) * 3),),
        outputs=signature.outputs,
    )
    build(small, path=path, mean=means, std=stds)
