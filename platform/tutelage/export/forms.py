"""The forms of an exported student: the files of each, and the packages that its bytes depend on."""

from __future__ import annotations

from tutelage.networks import checkpoint

PROGRAM, ONNX = "model.pt2", "model.onnx"

FORMS: dict[str, tuple[str, ...]] = {  # a form → its files
    "weights": (checkpoint.WEIGHTS, checkpoint.ARCHITECTURE),
    "program": (PROGRAM,),
    "onnx": (ONNX,),
    "onnx-int8": ("model.int8.onnx",),
    "onnx-int8-dynamic": ("model.int8-dynamic.onnx",),
}

FLOAT_FORMS, QUANTISED_FORMS = ("weights", "program", "onnx"), ("onnx-int8", "onnx-int8-dynamic")

WRITTEN_WITH = {  # a form → the packages that its bytes depend on
    "weights": ("torch", "safetensors"),
    "program": ("torch",),
    "onnx": ("torch", "onnx", "onnxscript"),
    "onnx-int8": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "onnx-int8-dynamic": ("torch", "onnx", "onnxscript", "onnxruntime"),
}
