"""Preparation of decoded images as ONNX nodes in front of a classifier, with the arithmetic of pillow.

ONNX's Resize differs from pillow by up to 30 of 255 when it shrinks, so each axis is resized by products with matrices
of weights. Weights, sums and pixels are whole numbers, which int64 and float64 hold exactly: every runtime gives the
same pixels. They are pillow's, but for a 1 of 255 where pillow 13 shrinks tall images in the other order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.data.preparation import Preparation

_ONE = 2**22  # weights have 22 bits after the point, as pillow's
_BLOCK = 32  # pixels that one product gives; most weights of a wider one would be 0
_LUMA = (19595, 38470, 7471)  # red, green and blue of ITU-R 601, of 2**16

_PREFIX = "preparation/"  # names of nodes are unlike those of the classifier

# Output of a node by its name, or a constant; whole numbers are int64 [1].
Value = str | int | NDArray[Any] | np.float32


class Nodes:
    """Nodes of an ONNX graph, and their constants."""

    def __init__(self, prefix: str = _PREFIX) -> None:
        """Start without nodes; their names begin with `prefix`."""
        self._prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operator: str, *inputs: Value, output: str | None = None, **attributes: Any) -> str:
        """Add a node of an operator of the domain ai.onnx; return the name of its output."""
        from onnx import helper

        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = output or f"{self._prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], output, **attributes))
        return output

    def cast(self, value: str, dtype: type[np.generic]) -> str:
        """Add a conversion to another type."""
        from onnx import helper

        return self("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def branch(self, output: str) -> Any:
        """Return the nodes as a branch of `If` that gives `output`, uint8 [N, channels, H, W]."""
        from onnx import TensorProto, helper

        given = helper.make_tensor_value_info(output, TensorProto.UINT8, ["N", None, "H", "W"])
        return helper.make_graph(self.nodes, self._prefix, [], [given], self.constants)

    def _constant(self, value: int | NDArray[Any] | np.float32) -> str:
        from onnx import numpy_helper

        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array([value] if isinstance(value, int) else value), name))
        return name


def prepare(add: Nodes, image: str, images: str, shape: tuple[int, int, int], preparation: Preparation) -> None:
    """Add nodes that do to decoded images what `data.images` does after it decoded, turned and scaled them.

    Args:
        add: nodes to add to.
        image: name of the input, uint8 [N, H, W, C] with C of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
        images: name of the output, uint8 [N, *shape].
        shape: C, H and W of the model, in pixels; C is 1 or 3.
        preparation: how the training images were prepared.
    """
    channels, height, width = shape
    planes = add("Transpose", image, perm=[0, 3, 1, 2])
    # old runtimes end the process at a division by 0; an image without pixels fails in a product
    rows, columns = (add("Max", add("Shape", planes, start=axis, end=axis + 1), 1) for axis in (2, 3))
    if preparation.fit == "crop":
        planes, rows, columns = _cropped(add, planes, (rows, columns), (height, width))
    inner: tuple[Value, Value] = (height, width)
    if preparation.fit == "pad":
        inner = _inner(add, (rows, columns), (height, width))
    converted = _in_channels(add, _drawn(add, planes, preparation.background), channels)
    narrowed = _resized(add, converted, columns, inner[1], width, axis=3)
    pixels = _resized(add, narrowed, rows, inner[0], height, axis=2)
    is_light = _light(add, pixels) if preparation.invert == "auto" else None
    if preparation.fit == "pad":
        pixels = _padded(add, pixels, inner, shape, preparation.background)
    if preparation.invert != "no":
        inverted = add("Sub", np.array(255.0), pixels)
        pixels = inverted if is_light is None else add("Where", is_light, inverted, pixels)
    add("Cast", pixels, to=2, output=images)  # 2 is uint8


def _wider(add: Nodes, size: tuple[str, str], target: tuple[int, int]) -> str:
    """Return whether an image is wider than the target, in proportion; sizes are rows and columns, as below."""
    return add("Greater", add("Mul", size[1], target[0]), add("Mul", size[0], target[1]))


def _rounded(add: Nodes, numerator: str, denominator: Value) -> str:
    """Divide and round, half up; at least 1."""
    doubled = add("Add", add("Mul", numerator, 2), denominator)
    return add("Max", add("Div", doubled, add("Mul", denominator, 2)), 1)


def _cropped(add: Nodes, planes: str, size: tuple[str, str], target: tuple[int, int]) -> tuple[str, str, str]:
    """Cut images to the proportions of the target; return them with their rows and columns."""
    (rows, columns), (height, width) = size, target
    wider = _wider(add, size, target)
    used_rows = add("Where", wider, rows, _rounded(add, add("Mul", columns, height), width))
    used_columns = add("Where", wider, _rounded(add, add("Mul", rows, width), height), columns)
    used = add("Concat", used_rows, used_columns, axis=0)
    corner = add("Div", add("Sub", add("Concat", rows, columns, axis=0), used), 2)
    return add("Slice", planes, corner, add("Add", corner, used), np.array([2, 3])), used_rows, used_columns


def _inner(add: Nodes, size: tuple[str, str], target: tuple[int, int]) -> tuple[str, str]:
    """Return the rows and columns of the largest image in the target that keeps its proportions."""
    (rows, columns), (height, width) = size, target
    wider = _wider(add, size, target)
    inner_rows = add("Where", wider, _rounded(add, add("Mul", rows, width), columns), height)
    return inner_rows, add("Where", wider, width, _rounded(add, add("Mul", columns, height), rows))


def _drawn(add: Nodes, planes: str, background: tuple[int, int, int]) -> str:
    """Draw transparent images on the background: uint8 [N, 1 or 3, H, W]."""
    channels = add("Shape", planes, start=1, end=2)
    has_alpha = add("Sub", 1, add("Mod", channels, 2))
    n_colours = add("Sub", channels, has_alpha)

    draw = Nodes(f"{_PREFIX}drawn/")
    colours = draw.cast(draw("Slice", planes, 0, n_colours, 1), np.float32)
    alpha = draw.cast(draw("Slice", planes, n_colours, channels, 1), np.float32)
    under = draw("Mul", np.array(background, np.float32).reshape(3, 1, 1), draw("Sub", np.float32(255), alpha))
    sums = draw("Add", draw("Add", draw("Mul", colours, alpha), under), np.float32(127))
    drawn = draw.cast(draw("Floor", draw("Div", sums, np.float32(255))), np.uint8)
    keep = Nodes(f"{_PREFIX}kept/")
    kept = keep("Slice", planes, 0, n_colours, 1)
    return add("If", add.cast(has_alpha, np.bool_), then_branch=draw.branch(drawn), else_branch=keep.branch(kept))


def _in_channels(add: Nodes, planes: str, channels: int) -> str:
    """Convert grey or RGB to the channels of the model: uint8 [N, channels, H, W]."""
    is_grey = add("Equal", add("Shape", planes, start=1, end=2), 1)
    grey, colour = Nodes(f"{_PREFIX}grey/"), Nodes(f"{_PREFIX}colour/")
    of_colour = colour("Expand", planes, np.array([1, 3, 1, 1]))  # refuses other numbers of channels
    if channels == 3:
        of_grey = grey("Concat", planes, planes, planes, axis=1)
    else:
        of_grey = grey("Identity", planes)
        shares = [
            colour("Mul", colour.cast(colour("Slice", of_colour, i, i + 1, 1), np.float32), np.float32(share))
            for i, share in enumerate(_LUMA)
        ]  # below 2**24 together, which float32 holds exactly
        sums = colour("Add", colour("Add", *shares[:2]), colour("Add", shares[2], np.float32(2**15)))
        of_colour = colour.cast(colour("Floor", colour("Div", sums, np.float32(2**16))), np.uint8)
    return add("If", is_grey, then_branch=grey.branch(of_grey), else_branch=colour.branch(of_colour))


def _resized(add: Nodes, planes: str, source: str, inner: Value, target: int, *, axis: int) -> str:
    """Resize an axis (2 or 3) of `source` pixels to `inner`, at most `target`: whole numbers, float64 [N, C, ..]."""
    parts = []
    for first in range(0, target, _BLOCK):
        last = min(first + _BLOCK, target)
        spacing = add("Add", add("Div", source, inner), 2)
        before = add("Sub", add("Div", add("Mul", source, first), inner), spacing)
        start = add("Max", add("Min", before, add("Sub", source, 1)), 0)
        after = add("Add", add("Div", add("Mul", source, last), inner), spacing)
        end = add("Min", after, source)
        weights = _weights(add, (start, end), np.arange(first, last), source, inner, axis)
        pixels = add.cast(add("Slice", planes, start, end, axis), np.float64)
        sums = add("MatMul", *((pixels, weights) if axis == 3 else (weights, pixels)))
        scaled = add("Div", add("Add", sums, np.array(_ONE / 2)), np.array(float(_ONE)))
        parts.append(add("Min", add("Floor", scaled), np.array(255.0)))
    whole = add("Concat", *parts, axis=axis)
    return whole if isinstance(inner, int) else add("Slice", whole, 0, inner, axis)


def _weights(
    add: Nodes, span: tuple[str, str], targets: NDArray[np.int64], source: str, inner: Value, axis: int
) -> str:
    """Return the weight of each pixel of a span of a line in each target.

    They are float64, [pixels of the span, targets] for axis 3 and [targets, pixels of the span] for axis 2: ONNX
    Runtime 1.21 fails at a product with a transposed matrix in float64.

    The line has `source` pixels, and `inner` when it is resized. Pixels are as far apart as their middles, and a weight
    falls linearly to 0 at the width of a pixel of the line that has fewer. Lengths are whole numbers: the line is
    2 * source * inner long.
    """
    x = add("Unsqueeze", add("Range", *(add("Squeeze", bound) for bound in span), np.array(1)), axis - 2)
    there = add("Mul", add("Add", add("Mul", x, 2), 1), inner)
    here = add("Mul", np.expand_dims(2 * targets + 1, 3 - axis), source)
    reach = add("Mul", add("Max", source, inner), 2)
    near = add("Max", add("Sub", reach, add("Abs", add("Sub", there, here))), 0)
    total = add("Max", add("ReduceSum", near, 3 - axis, keepdims=1), 1)  # 0 beyond `inner`
    rounded = add("Div", add("Add", add("Mul", near, 2 * _ONE), total), add("Mul", total, 2))
    return add.cast(rounded, np.float64)


def _light(add: Nodes, pixels: str) -> str:
    """Return whether the mean of an image's border is above 127.5: bool [N, 1, 1, 1]."""
    centred, axes = add("Sub", pixels, np.array(127.5)), np.array([1, 2, 3])
    inside = add("Slice", centred, np.array([1, 1]), np.array([-1, -1]), np.array([2, 3]))
    whole, part = (add("ReduceSum", values, axes, keepdims=1) for values in (centred, inside))
    return add("Greater", whole, part)


def _padded(
    add: Nodes, pixels: str, inner: tuple[Value, Value], shape: tuple[int, int, int], background: tuple[int, int, int]
) -> str:
    """Put images in the middle of the background: float64 [N, *shape]."""
    colour = np.array(background, np.float64)
    if shape[0] == 1:
        colour = (colour @ _LUMA + 2**15) // 2**16
    colour = colour.reshape(-1, 1, 1)
    size = add("Concat", *inner, axis=0)
    free = add("Sub", np.array(shape[1:]), size)
    corner = add("Div", free, 2)
    none = np.array([0, 0])
    around = add("Concat", none, corner, none, add("Sub", free, corner), axis=0)
    return add("Add", add("Pad", add("Sub", pixels, colour), around), colour)
