"""ONNX Runtime. It never imports torch by itself: `aae predict` runs on this module."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aae_toolkit.errors import AaeError, DeviceError

if TYPE_CHECKING:  # `aae predict` starts without what the table of backends imports
    from numpy.typing import NDArray

    from aae_toolkit.backends.base import BackendName, Bound, Tensors

_MAX_SIDE = 4096
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeBackend:
    """An ONNX file in an inference session whose provider was proven.

    Attributes:
        metadata: the strings that the file carries (`aae.class_names`, `aae.contract`, ...).
        input_shapes: by input name; a dynamic axis is a string or None.
    """

    name: BackendName = "onnxruntime"

    def __init__(self, path: Path, *, device: str = "cpu", threads: int | None = None, prepacked: bool = True) -> None:
        """Load `path`; `threads` run within one operator.

        `prepacked` weights are laid out for fast products: an MLP labels 64 images in a twelfth less time, and takes
        twice as long to load. Outputs are the same to rounding.

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
        ort.disable_telemetry_events()  # of its builds for Windows; the others have none
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions, which become one line
        ort.set_default_logger_severity(4)  # providers that do not load log there
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
        """As the protocol says, by ONNX Runtime's IO binding."""
        import onnxruntime as ort

        from aae_toolkit.backends.base import Bound

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
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise AaeError(f"{self.artifact} is damaged: it names no classes; run aae export again") from error

    def classify(self, images: NDArray[np.uint8]) -> Tensors:
        """Run images [N, C, H, W] of a file that anybody may have written: its outputs must be a classifier's.

        Raises:
            AaeError: the file cannot run them, or gives something else.
        """
        n, n_classes = len(images), len(self.class_names)
        try:
            outputs = self.run({"images": images})
        except Exception as error:  # its exception types are not public
            raise AaeError(f"{self.artifact} cannot label images: {' '.join(str(error).split())[:200]}") from error
        label, probabilities = outputs.get("label"), outputs.get("probabilities")
        if (
            label is None
            or probabilities is None
            or (label.shape, probabilities.shape) != ((n,), (n, n_classes))
            or label.dtype != np.int64
            or not ((label >= 0) & (label < n_classes)).all()
        ):
            raise AaeError(f"{self.artifact} does not give a label and {n_classes} probabilities; run aae export again")
        return outputs

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it takes, in pixels.

        Raises:
            AaeError: it takes something else.
        """
        match list(self.input_shapes.items()):
            case [("images", [_, int(c), int(h), int(w)])] if c in (1, 3) and 0 < h <= _MAX_SIDE and 0 < w <= _MAX_SIDE:
                return c, h, w
        raise AaeError(f"{self.artifact} takes no images of 1 or 3 channels up to {_MAX_SIDE} pixels wide and high")

    @property
    def border_brightness(self) -> float | None:
        """How bright the borders of the training images are, 0-255; None where the file does not say."""
        try:
            return float(json.loads(self.metadata["aae.border_brightness"]))
        except Exception:  # written by an earlier version, for data without images, or damaged
            return None


def _prove_provider(session: Any, wanted: str) -> dict[str, int]:
    """Refuse a live session that runs anything elsewhere; return how many nodes each provider was given.

    That is empty where ONNX Runtime is too old to tell.
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
