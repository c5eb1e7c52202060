"""ONNX Runtime. It never imports torch by itself: `aae predict` runs on this module."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from aae_toolkit.backends.base import BackendName, Tensors
from aae_toolkit.errors import AaeError, DeviceError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeBackend:
    """An ONNX file in an inference session whose provider was proven.

    Attributes:
        metadata: the strings that the file carries (`aae.class_names`, `aae.contract`, ...).
        input_shapes: by input name; a dynamic axis is a string or None.
    """

    name: BackendName = "onnxruntime"

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None) -> None:
        """Load `path`; `threads` run within one operator.

        Raises:
            AaeError: the file is absent or no ONNX that this runtime takes.
            DeviceError: the asked-for provider did not run.
        """
        import onnxruntime as ort

        kind, _, index = device.partition(":")
        if kind not in _PROVIDERS:
            raise DeviceError(f"ONNX Runtime has no device {device!r} here; choose cpu or cuda")
        if not path.is_file():
            raise AaeError(f"{path} does not exist; write it with aae export")
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions, which become one line
        ort.set_default_logger_severity(4)  # providers that do not load log there
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not burn a core
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        provider: Any = _PROVIDERS[kind]
        if kind == "cuda":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            with redirect_stdout(sys.stderr):  # it prints what it cannot load
                ort.preload_dlls()
            provider = (provider, {"device_id": int(index or 0), "use_tf32": "0"})  # parity is judged in full float32
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[provider], enable_fallback=False)
        except Exception as error:  # its exception types are not public
            reason = " ".join(str(error).split())[:200]
            if kind == "cuda":
                raise DeviceError(f"ONNX Runtime did not run on CUDA: {reason}; see aae doctor") from error
            raise AaeError(f"{path} is not a model that ONNX Runtime {ort.__version__} takes: {reason}") from error
        used = self._session.get_providers()
        if used[0] != _PROVIDERS[kind]:
            raise DeviceError(f"asked for {_PROVIDERS[kind]}, ONNX Runtime runs {used[0]}; see aae doctor")
        self.nodes = _nodes_by_provider(self._session)
        if elsewhere := {name: n for name, n in self.nodes.items() if name != _PROVIDERS[kind]}:
            others = ", ".join(f"{n} on {name}" for name, n in elsewhere.items())
            raise DeviceError(
                f"asked for {_PROVIDERS[kind]}, but of {sum(self.nodes.values())} nodes {others}; see aae doctor"
            )
        self.artifact = path.name
        self.device = f"{device} ({used[0]})"
        try:
            self.input_names = [i.name for i in self._session.get_inputs()]
            self.input_shapes = {i.name: i.shape for i in self._session.get_inputs()}
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
            self._output_names = [o.name for o in self._session.get_outputs()]
        except UnicodeDecodeError as error:
            raise AaeError(f"{path} is damaged: its names are not text; run aae export again") from error

    def run(self, feeds: Tensors) -> Tensors:
        """Run one batch."""
        outputs = self._session.run(self._output_names, feeds)
        return dict(zip(self._output_names, outputs, strict=True))

    def close(self) -> None:
        """Free the session."""
        del self._session

    @property
    def class_names(self) -> list[str]:
        """Class names that the file carries.

        Raises:
            AaeError: the file is not a classifier exported by this tool.
        """
        if self.metadata.get("aae.artifact") != "classifier":
            raise AaeError(f"{self.artifact} is not a classifier written by aae export: its metadata does not say so")
        try:
            return [str(name) for name in json.loads(self.metadata["aae.class_names"])]
        except (KeyError, TypeError, ValueError) as error:
            raise AaeError(f"{self.artifact} is damaged: it names no classes; run aae export again") from error


def _nodes_by_provider(session: Any) -> dict[str, int]:
    """How many nodes each provider of a live session was given; empty before ONNX Runtime could tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)
