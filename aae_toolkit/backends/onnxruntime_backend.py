"""ONNX Runtime backend. It imports neither torch nor pydantic, because `aae predict` runs on it without them."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aae_toolkit.backends.protocol import BackendName, Bound, Closing
from aae_toolkit.errors import AaeError, DeviceError

if TYPE_CHECKING:  # keep imports of `aae predict` light
    from aae_toolkit.backends.protocol import Runnable
    from aae_toolkit.export.contract import Tensors
    from aae_toolkit.export.directory import ExportDirectory

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def open_artifact(export: ExportDirectory, runnable: Runnable, device: str, threads: int | None) -> OnnxRuntimeBackend:
    """Load an artifact of an export."""
    return OnnxRuntimeBackend(export.path / runnable.file, device=device, threads=threads)


class OnnxRuntimeBackend(Closing):
    """ONNX file in an inference session that is known to run on the requested execution provider.

    Attributes:
        metadata: strings in the file, by key; `export.metadata` defines the keys.
        input_shapes: shapes by input name; a dynamic axis is a string or None.
    """

    name: BackendName = "onnxruntime"

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None, prepacked: bool = True) -> None:
        """Load an ONNX file.

        Args:
            path: the file.
            device: `cpu`, `cuda` or `cuda:i`.
            threads: threads within one operator; None leaves the default of ONNX Runtime.
            prepacked: pack weights for fast matrix products: an MLP labels 64 images in a twelfth less time, but
                takes twice as long to load. Outputs are equal up to rounding.

        Raises:
            AaeError: the file is absent, or not an ONNX model that this version of ONNX Runtime supports.
            DeviceError: the requested execution provider did not run.
        """
        import onnxruntime as ort

        kind, _, index = device.partition(":")
        if kind not in _PROVIDERS:
            raise DeviceError(f"ONNX Runtime has no device {device!r} here; choose cpu or cuda")
        if not path.is_file():
            raise AaeError(f"{path} does not exist; write it with aae export")
        ort.disable_telemetry_events()  # Windows builds alone send any
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors are raised too, and shown in one line
        ort.set_default_logger_severity(4)  # providers that fail to load log here
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        for pool in ("intra_op", "inter_op"):  # idle threads must not burn a core
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        if not prepacked:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if threads is not None:
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        provider: Any = _PROVIDERS[kind]
        if kind == "cuda":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            with redirect_stdout(sys.stderr):  # preload_dlls prints libraries that fail to load
                ort.preload_dlls()
            provider = (provider, {"device_id": int(index or 0), "use_tf32": "0"})  # parity needs full float32
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[provider], enable_fallback=False)
        except Exception as error:  # exception types of ONNX Runtime are not public
            reason = " ".join(str(error).split())[:200]
            if kind == "cuda":
                raise DeviceError(f"ONNX Runtime did not run on CUDA: {reason}; see aae doctor") from error
            raise AaeError(f"{path} is not a model that ONNX Runtime {ort.__version__} can load: {reason}") from error
        self.nodes = _prove_provider(self._session, _PROVIDERS[kind])
        self.artifact = path.name
        self.device = f"{device} ({_PROVIDERS[kind]})"
        self._place = kind, int(index or 0)
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

    def bind(self, feeds: Tensors) -> Bound:
        """Put one batch on the device, with the I/O binding of ONNX Runtime."""
        import onnxruntime as ort

        binding = self._session.io_binding()
        for name in self.input_names:
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(feeds[name], *self._place))
        for name in self._output_names:
            binding.bind_output(name, *self._place)

        def run() -> None:
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        def outputs() -> Tensors:
            return dict(zip(self._output_names, binding.copy_outputs_to_cpu(), strict=True))

        return Bound(run, outputs)

    def close(self) -> None:
        """Free the session."""
        del self._session


def _prove_provider(session: Any, wanted: str) -> dict[str, int]:
    """Refuse a session that runs any node on another provider; return the number of nodes by provider.

    The result is empty where ONNX Runtime is too old to report the assignment.
    """
    used = session.get_providers()
    if used[0] != wanted:
        raise DeviceError(f"asked for {wanted}, ONNX Runtime runs {used[0]}; see aae doctor")
    counts: Counter[str] = Counter()
    if hasattr(session, "get_provider_graph_assignment_info"):
        for part in session.get_provider_graph_assignment_info():
            counts[part.ep_name] += len(part.get_nodes())
    if elsewhere := ", ".join(f"{n} on {name}" for name, n in counts.items() if name != wanted):
        raise DeviceError(f"asked for {wanted}, but of {counts.total()} nodes {elsewhere}; see aae doctor")
    return dict(counts)
