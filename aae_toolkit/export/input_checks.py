"""Checks of type and shape inside TorchScript, torch.export and AOTInductor files; ONNX Runtime has its own.

Without them TorchScript converts any type and regards any axes as pixels, and AOTInductor reads beyond its input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from aae_toolkit.export.contract import Contract, TensorSpec

# Names by the numbers that PyTorch's types have inside TorchScript and C++.
_NAMES = ["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
_NAMES += ["complex32", "complex64", "complex128", "bool"]


@contextmanager
def checked(module: nn.Module, contract: Contract) -> Iterator[nn.Module]:
    """Let a module check its inputs while it is traced or exported: its files then refuse what it would refuse."""

    def check(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for spec, given in zip(contract.inputs, inputs, strict=True):
            dtype, sizes = getattr(torch, spec.dtype), [int(size) for size in spec.shape[1:]]
            if torch._C._is_tracing():
                # a scripted function keeps its branches, which a trace of Python loses
                torch.jit.script(_require)(given, dtype, sizes, spec.name, str(spec), _NAMES)
            else:
                torch.ops.aten._assert_tensor_metadata(given, [given.shape[0], *sizes], None, dtype)

    with module.register_forward_pre_hook(check):
        yield module


def _require(given: Tensor, dtype: int, sizes: list[int], name: str, expected: str, names: list[str]) -> Tensor:
    """Check an input in TorchScript, where types are numbers and shapes are lists."""
    found: int = given.dtype  # type: ignore[assignment]
    if found != dtype or list(given.shape[1:]) != sizes:
        kind = names[found] if found < len(names) else "of another type"
        raise ValueError(f"{name} is {kind} {given.shape}; expected {expected}")
    return given


_CHECK_IN_CPP = """
static bool _check_aoti_runtime_check_inputs_env() {{ return false; }}

static void aae_require(
    AtenTensorHandle given, int32_t dtype, std::vector<int64_t> wanted, const char* name, const char* expected) {{
  int32_t found = 0;
  int64_t n_axes = 0;
  int64_t *sizes = nullptr, *strides = nullptr;
  AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(given, &found));
  AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dim(given, &n_axes));
  AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(given, &sizes));
  AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(given, &strides));
  bool fits = found == dtype && n_axes == static_cast<int64_t>(wanted.size()) + 1;
  for (int64_t axis = 1; fits && axis < n_axes; axis++) fits = sizes[axis] == wanted[axis - 1];
  bool contiguous = true;
  int64_t step = 1;
  for (int64_t axis = n_axes - 1; fits && axis >= 0; step *= sizes[axis--])
    contiguous = contiguous && (sizes[axis] == 1 || sizes[0] == 0 || strides[axis] == step);
  if (fits && contiguous) return;
  static const char* names[] = {{{names}}};
  std::stringstream message;
  message << name << " is " << (contiguous ? "" : "not contiguous, ")
          << (found < {n_names} ? names[found] : "of another type") << " [";
  for (int64_t axis = 0; axis < n_axes; axis++) message << (axis ? ", " : "") << sizes[axis];
  message << "]; expected " << (contiguous ? "" : "contiguous ") << expected;
  throw std::runtime_error(message.str());
}}

AOTI_NOINLINE static void __check_inputs_outputs(AtenTensorHandle* inputs, AtenTensorHandle*) {{
  {calls}
}}
"""


@contextmanager
def checks_in_aoti(contract: Contract) -> Iterator[None]:
    """Let AOTInductor write these checks into packages, in place of those that only an environment variable turns on.

    Its generated code calls both functions by their names, so that another version of PyTorch that names them
    otherwise fails to compile rather than leaving the checks out.
    """
    from torch._inductor.codegen.cpp_wrapper_cpu import CppWrapperCpu

    calls = "\n  ".join(_call(index, spec) for index, spec in enumerate(contract.inputs))
    names = ", ".join(f'"{name}"' for name in _NAMES)
    code = _CHECK_IN_CPP.format(names=names, n_names=len(_NAMES), calls=calls)

    def write(wrapper: Any) -> None:
        wrapper.prefix.splice_aot(code)

    with mock.patch.object(CppWrapperCpu, "generate_input_output_runtime_checks", write):
        yield


def _call(index: int, spec: TensorSpec) -> str:
    sizes = ", ".join(map(str, spec.shape[1:]))
    return f'aae_require(inputs[{index}], aoti_torch_dtype_{spec.dtype}(), {{{sizes}}}, "{spec.name}", "{spec}");'
