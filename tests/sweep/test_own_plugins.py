"""Wrong plugins of a user's own are errors before anything is trained, with the plugin, the reason and the line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tutelage.errors import InputError
from tutelage.networks import checkpoint
from tutelage.records.dispatcher import Dispatcher
from tutelage.spec import loading
from tutelage.sweep import pair_checks, pipeline
from tutelage.training.context import TrainingContext


def opened(changes: Mapping[str, Any]) -> TrainingContext:
    tree = {
        "name": "wrong", "data": "tests.wrong_plugins:GoodData", "task": "tabular_classification",
        "teacher": {"model": "mlp", "epochs": 1},
        "student": {"epochs": 4, "model": {"mlp": {"hidden": 4}}, "learning_rate": {"float": [0.001, 0.01]}},
        "search": {"trials": 2}, **changes,
    }  # fmt: skip
    spec = loading.from_dict(tree)
    context = pipeline.opened(spec, Dispatcher())
    if "distillation" in changes:
        assert spec.teacher.model is not None
        pair_checks.check_pairs(spec, context, checkpoint.blank(context.architecture(spec.teacher.model)))
    return context


def check(family: str, name: str, words: str) -> None:
    own = f"tests.wrong_plugins:{name}"
    changes: Mapping[str, Any] = {
        "data": {"data": own}, "task": {"task": own}, "measure": {"search": {"trials": 2, "measures": [own]}},
        "rule": {"search": {"trials": 2, "stopping": {"rule": own}}}, "sampler": {"search": {"trials": 2, "sampler": own}},
        "loss": {"distillation": {"method": own, "weight": 0.5}},
    }[family]  # fmt: skip
    with pytest.raises(InputError) as caught:
        opened(changes)
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "words"), [
    ("NoExamples", "gives a NoneType for the train split, not tutelage.data.Examples"),
    ("RaisingData", "reading the train split fails: ZeroDivisionError: on purpose (wrong_plugins.py, line "),
    ("LeavingData", "reading the train split fails: SystemExit: 3"),
    ("FewArguments", "reading the train split fails: TypeError"),
    ("NotANumber", "the values of 'inputs' are not all finite"),
    ("NoValidation", "the validation split is empty"),
    ("OtherWidth", "kind and shape of 'inputs' differ from those of the training split (vector 7, not vector 8)"),
    ("OtherOrder", "the names of 'class' differ from those of the training split ('c', 'b', 'a', not 'a', 'b', 'c')"),
    ("OtherMean", "mean and deviation of 'inputs' differ"),
    ("Chance", "reading the validation split twice gives different examples"),
    ("Arrays", "the values of 'inputs' are a ndarray, not a tensor"),
    ("Gradients", "the values of 'inputs' require gradients"),
    ("NoSuchClass", "NoSuchClass': the train split: the label 'class' of row 2 (the first is 0) is 3, and there are 3 classes"),
    ("Unlabelled", "Unlabelled': the validation split: the label 'class' of row 0 (the first is 0) is -1"),
    ("SameNames", "two names of 'class' are equal"),
    ("Numbers", "the names of 'class' hold 0"),
    ("NotText", "not UTF-8"),
    ("OneNote", "its notes are 'a sentence', not a tuple of sentences"),
    ("NoConfig", "lacks Config"),
    ("NumberAsConfig", "its Config is 3, not a tutelage.plugins.PluginConfig"),
    ("ReadIsANumber", "its read is no function"),
])  # fmt: skip
def test_a_wrong_data_source(name: str, words: str) -> None:
    check("data", name, words)


@pytest.mark.parametrize(("name", "words"), [
    ("RaisingTask", "build fails: ZeroDivisionError"),
    ("WordsAsMeasures", "its `measures` are ('accuracy',), not a tuple of tutelage.measure.Measure"),
    ("NoMeasures", "has no `measures`"),
    ("NoOutputs", "outputs gives None"),
    ("RaisingOutputs", "outputs fails: ZeroDivisionError"),
    ("RaisingForward", "forward fails: ZeroDivisionError"),
    ("NothingForward", "forward gives a NoneType; its outputs are class"),
    ("ScalarLoss", "loss gives a tensor of shape (); a tensor of shape (8,) is needed"),
    ("NanLoss", "loss gives nan"),
    ("NoGradient", "loss gives numbers without a gradient"),
    ("RaisingLoss", "loss fails: ZeroDivisionError"),
    ("NoContributions", "evaluate gives nothing for accuracy"),
    ("NanContributions", "is nan"),
    ("OtherCount", "have the shape (9, 2); (8, k) is needed"),
    ("RaisingEvaluate", "evaluate fails: ZeroDivisionError"),
    ("FlatDecoded", "decoded_labels gives no int64 labels of shape (8, 1) for 'class'"),
    ("LargeDecoded", "decoded_labels gives a label outside of 0 to 2 for 'class'"),
    ("NanBaseline", "baseline is nan"),
    ("WordAsBaseline", "baseline is 'high', which is no number"),
])  # fmt: skip
def test_a_wrong_task(name: str, words: str) -> None:
    check("task", name, words)


@pytest.mark.parametrize(("name", "words"), [
    ("NAN", "of_network of an untrained student is nan"),
    ("WORD", "is 'five', which is no number"),
    ("TWO", "which is no number"),
    ("RAISING", "of_network fails: ZeroDivisionError"),
    ("ZEROING", "of_network changes the network"),
    ("TRAINING", "leaves the network in training mode"),
    ("NEGATIVE", "is -5, outside of its bounds"),
    ("FORMAT", "its scale or format fails: ValueError"),
    ("LAMBDA", "cannot be imported by its name"),
    ("NOTHING", "has neither of_network nor of_outputs"),
    ("FLAT", "have the shape (8,); (8, k) is needed"),
    ("RAISING_OUTPUTS", "of_outputs fails: ZeroDivisionError"),
])  # fmt: skip
def test_a_wrong_measure(name: str, words: str) -> None:
    check("measure", name, words)


@pytest.mark.parametrize(("name", "words"), [
    ("RaisingRule", "build fails: ZeroDivisionError"),
    ("NoJudge", "build gives a NoneType without rungs"),
    ("OnlyARule", "build gives a Patient without rungs"),
    ("RaisingStops", "judge fails: ZeroDivisionError"),
    ("FewStops", "judge fails: TypeError"),
    ("RaisingFinished", "learn fails: ZeroDivisionError"),
    ("OtherWord", "judge gives 'maybe'; it must give continue or stop"),
    ("SecretPause", "judge gives 'pause'; it must give continue or stop"),
    ("NoRungs", "its rungs fails: TypeError"),
    ("NameAsPromoted", "promoted gives 't0001'"),
])  # fmt: skip
def test_a_wrong_stopping_rule(name: str, words: str) -> None:
    check("rule", name, words)


@pytest.mark.parametrize(("name", "words"), [
    ("RaisingSampler", "build fails: ZeroDivisionError"),
    ("SamplerClass", "not an optuna.samplers.BaseSampler"),
    ("WordSampler", "fails: ValueError"),
    ("OutsideSampler", "suggests 1000000000.0 for student.learning_rate, which is not of its range"),
    ("LateSampler", "fails: ZeroDivisionError: on purpose"),
])  # fmt: skip
def test_a_wrong_sampler(name: str, words: str) -> None:
    check("sampler", name, words)


@pytest.mark.parametrize(("name", "words"), [
    ("RaisingBuild", "build fails: ZeroDivisionError"),
    ("RaisingDistillation", "a training of a few steps fails: ZeroDivisionError"),
    ("NanDistillation", "is nan for untrained networks"),
    ("VectorDistillation", "it must give a tensor without axes"),
    ("ConstantDistillation", "has no gradient"),
    ("NeedsAWord", "needs 'logits'. Its NEEDS are a frozenset"),
    ("NeedsUnknown", "needs 'everything'"),
    ("NoNeeds", "needs fails: AttributeError"),
])  # fmt: skip
def test_a_wrong_distillation_loss(name: str, words: str) -> None:
    check("loss", name, words)


def test_right_plugins_pass_and_what_they_print_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    own = {name: f"tests.wrong_plugins:Good{name}" for name in ("Rule", "Sampler", "Distillation")}
    search = {"trials": 2, "sampler": own["Sampler"], "stopping": {"rule": own["Rule"]}}
    opened({"search": search, "distillation": {"method": own["Distillation"], "weight": 0.5}})
    assert capsys.readouterr().out == ""
