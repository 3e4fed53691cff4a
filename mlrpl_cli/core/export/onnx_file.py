"""The traced model as an ONNX model, and the bytes of its file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from mlrpl_cli.core.export.model import RunModel
from mlrpl_cli.core.export.tracing import converted
from mlrpl_cli.core.io.errors import ConfigError, WeightsError, in_words
from mlrpl_cli.core.prediction.model_file import MOST_BYTES, sealed
from mlrpl_cli.core.prediction.model_info import IMAGES, OUTPUTS, ModelInfo

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""The first whose Resize averages over the pixels that it leaves out."""
ROOM = 64 << 20
"""Bytes that all but the weights may take of an ONNX file."""
BATCH = "batch"
"""What B is called."""
RESIZED, SIZE = "resized", "resized_size"
PILLOWS_CUBIC = -0.5
"""a of the cubic kernel that Pillow has."""


def onnx() -> Any:
    """The module onnx. Raises ConfigError where it, or what turns a graph of PyTorch into it, is not installed."""
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError("--format onnx needs onnx and onnxscript; pip install 'mlrpl[onnx]'") from error
    return onnx


def onnx_model(model: RunModel) -> ModelProto:
    """The graph of a model that does not resize, without properties.

    Raises WeightsError for weights that no ONNX file has room for, and as `tracing.converted`.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > MOST_BYTES - ROOM:
        most = f"weights of {in_words(size)}, and an ONNX file in one piece has at most {in_words(MOST_BYTES)}"
        raise WeightsError(f"the backbone '{model.head.info.backbone}' has {most}; take --format torch")
    return _named(_without_traces(converted(model, _convert)))


def _convert(program: ExportedProgram) -> ModelProto:
    names = {"input_names": [IMAGES], "output_names": list(OUTPUTS)}
    found = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False, **names)  # type: ignore[arg-type]
    assert found is not None
    return found.model_proto


def add_resize(proto: ModelProto, size: int, resampling: str) -> None:
    """Put in front a Resize of (B, any, any, 3) uint8 to (B, size, size, 3), by Pillow's filter of that name."""
    library, graph = onnx(), proto.graph
    for node in graph.node:
        node.input[:] = [RESIZED if name == IMAGES else name for name in node.input]
    mode = {"bicubic": "cubic", "bilinear": "linear"}[resampling]
    filtered = {"mode": mode, "cubic_coeff_a": PILLOWS_CUBIC, "antialias": 1, "exclude_outside": 1}
    node = library.helper.make_node("Resize", [IMAGES, "", "", SIZE], [RESIZED], name="resize", axes=[1, 2], **filtered)
    graph.node.insert(0, node)
    graph.initializer.append(library.helper.make_tensor(SIZE, library.TensorProto.INT64, [2], [size, size]))
    for axis, name in ((1, "height"), (2, "width")):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name


def content_of(proto: ModelProto, info: ModelInfo) -> bytes:
    """The bytes of a model file: the graph, what it says of itself, and the checksum of both."""
    del proto.metadata_props[:]
    onnx().helper.set_model_props(proto, info.properties())
    return sealed(proto.SerializeToString(deterministic=True))


def _named(proto: ModelProto) -> ModelProto:
    """With BATCH in place of the symbol that the tracer gave B, in every shape."""
    graph = proto.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(rf"\b{re.escape(symbol)}\b", BATCH, axis.dim_param)
    return proto


def _without_traces(proto: ModelProto) -> ModelProto:
    """Without what the exporter notes at each node: lines of source, and where they lie on this machine."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return proto
