"""A trained network as one ONNX file, which runs in a browser, a telephone or a C++ program.

Inputs (B images at once):
    x_t  f32[B,C,S,S]  noisy images
    t    i64[B]        time as the network counts it, 0..T−1: our t minus 1
    y    i64[B]        labels, where the network has classes; the number of classes means "no label"
Output:
    prediction  f32[B,C,S,S]  ε, x_0 or v

The file's metadata have the rest of what a sampler needs, each value as JSON: `prediction`, `clip`,
`num_classes` and the table `alphas_cumprod`.
"""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_course.diffusion import Denoiser
from ddpm_course.pretrained.files import atomic


def export_onnx(path: Path | str, denoiser: Denoiser) -> None:
    """Write the network of `denoiser` as an ONNX file with a dynamic batch size.

    It computes in float32. Weights that lose nothing in float16, as all those do that were shipped
    in it, are stored in half the bytes.

    Raises ValueError if the file exists or the network needs more inputs than image, time and
    label, ModuleNotFoundError without the packages of ONNX, OSError if the disk is full.
    """
    path = Path(path)
    if path.exists():
        raise ValueError(f"{path} exists: name another file, or remove it.")
    config = denoiser.net.config
    if config["has_level"] or config["in_channels"] != config["out_channels"]:
        raise ValueError(
            "This network takes more than the image (`level`, or another image beside it); the "
            "ONNX file has no input for that, so it cannot be exported."
        )
    _require_onnx()
    model = _traced(denoiser)
    _drop_traces(model)
    _halve_weights(model.graph)
    facts = {
        "prediction": denoiser.prediction,
        "clip": denoiser.clip,
        "num_classes": config["num_classes"],
        "alphas_cumprod": denoiser.schedule.alphas_cumprod.tolist(),
    }
    for name, value in facts.items():
        model.metadata_props.add(key=name, value=json.dumps(value))
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  PyTorch's exporter uses it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "ONNX files need its packages: install `ddpm-course[onnx]`."
        ) from error


def _traced(denoiser: Denoiser) -> Any:
    """The network as an onnx.ModelProto."""
    size = 2  # a batch of 1 would be taken for a constant
    inputs = {
        "x": torch.zeros(size, *denoiser.image_shape),
        "t": torch.zeros(size, dtype=torch.int64),
    }
    if denoiser.net.null_class is not None:
        inputs["y"] = torch.zeros(size, dtype=torch.int64)
    batch = torch.export.Dim("B")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about its own parts
        program = torch.onnx.export(
            copy.deepcopy(denoiser.net).cpu().eval(),
            kwargs=inputs,
            input_names=["x_t", *list(inputs)[1:]],
            output_names=["prediction"],
            dynamic_shapes={name: {0: batch} for name in inputs},
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    assert program is not None
    return program.model_proto


def _drop_traces(model: Any) -> None:
    """Without the exporter's notes, which name lines of source files on this machine."""
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input):
        del part.metadata_props[:]
        part.doc_string = ""


def _halve_weights(graph: Any) -> None:
    """Store each weight in float16 where that is exact; a Cast restores it when the file loads."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
