"""Classifier of decoded images of any size: `classifier.onnx` with the preparation of its images in front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aae_toolkit.export.contract import Contract
from aae_toolkit.export.formats import onnx_facts
from aae_toolkit.export.image_graph import Nodes, prepare
from aae_toolkit.files import atomic_path
from aae_toolkit.models.description import ModelDescription


def write_image_classifier(
    description: ModelDescription, contract: Contract, classifier: Path, path: Path, metadata: dict[str, str]
) -> dict[str, Any]:
    """Write the classifier of decoded images to `path` atomically; return its opset and IR version.

    Args:
        description: description of the model.
        contract: inputs and outputs of the file.
        classifier: `classifier.onnx` of the model.
        path: path of the file.
        metadata: strings to store in the file.
    """
    import onnx

    model = onnx.load(classifier)
    [images], [given] = model.graph.input, contract.inputs
    add = Nodes()
    prepare(add, given.name, images.name, description.architecture.image_shape, description.require_preparation())
    nodes, constants = list(model.graph.node), list(model.graph.initializer)
    for field, content in (("node", [*add.nodes, *nodes]), ("initializer", [*add.constants, *constants])):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(content)
    images.CopyFrom(onnx.helper.make_tensor_value_info(given.name, onnx.TensorProto.UINT8, given.shape))
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        onnx.save(model, temporary)
    return onnx_facts(model)
