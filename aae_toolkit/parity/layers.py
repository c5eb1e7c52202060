"""Search for the first node at which a refused ONNX file diverges from the trained model, node by node.

The exporter names the values of the ONNX graph after those of the PyTorch graph, so files of this tool can be matched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aae_toolkit.backends.protocol import Runnable
from aae_toolkit.export.contract import Contract, Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.formats import to_onnx
from aae_toolkit.parity.comparison import TOLERANCE

_N_IMAGES = 256


class _Recorder(torch.fx.Interpreter):
    """Interpreter that keeps the output of every node."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.module())
        self.values: dict[str, NDArray[Any]] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if isinstance(result, torch.Tensor):
            self.values[node.name] = result.detach().cpu().numpy()
        return result


def first_difference(export: ExportDirectory, runnable: Runnable, feeds: Tensors) -> str:
    """Find the first node of an ONNX file, in graph order, whose output differs from the trained model's.

    Args:
        export: the opened export.
        runnable: a float32 file.
        feeds: inputs by name, each [N, ...]; the first 256 images are run.

    Returns:
        A line that names the node.
    """
    import onnx
    import onnxruntime as ort

    contract = export.contract(runnable.artifact)
    feeds = {name: feeds[name][:_N_IMAGES] for name in contract.input_names}
    wanted = _trained_values(export.module(runnable.artifact), contract, feeds)
    model = onnx.load(export.path / runnable.file)
    nodes = {name: node for node in model.graph.node for name in node.output if name in wanted}
    outputs = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in nodes if name not in outputs)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = dict(zip(nodes, session.run(list(nodes), feeds), strict=True))
    last = "the input"
    for name, node in nodes.items():
        have, want = np.asarray(given[name]), wanted[name]
        called = f"{node.op_type} {node.name or name}"
        if have.shape != want.shape:
            return f"parts at {called}: {have.shape} for {want.shape}, after {last} agreed"
        difference = float(np.abs(have.astype(np.float64) - want).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(want).max())):
            return f"parts at {called}: differs by {difference:.3g}, after {last} agreed"
        last = called
    return (
        f"no node parts on {len(next(iter(feeds.values())))} images: {len(nodes)} of {len(model.graph.node)} compared"
    )


@torch.no_grad()
def _trained_values(module: nn.Module, contract: Contract, feeds: Tensors) -> Tensors:
    """Run the exported graph of the module; return the output of every node by the name that the exporter gave it."""
    program = to_onnx(module, contract).exported_program
    assert program is not None
    recorder = _Recorder(program)
    outputs = recorder.run(*(torch.from_numpy(feeds[name]) for name in contract.input_names))
    outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
    return recorder.values | {k: v.cpu().numpy() for k, v in zip(contract.output_names, outputs, strict=True)}
