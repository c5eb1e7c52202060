"""Golden outputs that timed runs must reproduce."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.export.contract import Precision, Tensors
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.parity.cases import Case, golden_case
from aae_toolkit.parity.comparison import GATES, REDUCED_GOLDEN_GATE, explained_by_rounding


@dataclass(frozen=True)
class Golden:
    """Images, with the outputs that a classifier must give for them.

    Attributes:
        images: golden images, uint8 [N, C, H, W].
        expected: expected outputs by name, each [N, ...].
        margins: difference of probability between the two most likely categories, float64 [N].
        tolerance: largest allowed absolute difference of a float output.
    """

    images: NDArray[np.uint8]
    expected: Tensors
    margins: NDArray[np.float64]
    tolerance: float

    @classmethod
    def of_case(cls, case: Case, precision: Precision) -> Golden:
        """Take the classifier's part of a case of golden images, with the tolerance of `precision`."""
        tolerance = GATES[precision].tolerance
        if tolerance is None:  # the case holds recorded outputs of the file itself
            tolerance = REDUCED_GOLDEN_GATE.tolerance
        assert tolerance is not None
        margins = case.top2[:, 1] - case.top2[:, 0]
        return cls(case.inputs["classifier"]["images"], case.expected["classifier"], margins, tolerance)

    def batch(self, size: int) -> Golden:
        """Return a batch of `size` images, repeated as needed, from the end: the realistic images come last."""
        return self._take((-1 - np.arange(size)) % len(self.images))

    def singles(self) -> list[Golden]:
        """Split into batches of one image."""
        return [self._take(np.array([i])) for i in range(len(self.images))]

    def _take(self, chosen: NDArray[np.int64]) -> Golden:
        expected = {name: values[chosen] for name, values in self.expected.items()}
        return Golden(self.images[chosen], expected, self.margins[chosen], self.tolerance)

    def problem(self, given: Tensors) -> str | None:
        """Describe the first output that differs by more than rounding explains; None if none does."""
        for name, expected in self.expected.items():
            values = given.get(name)
            if values is None or (values.shape, values.dtype) != (expected.shape, expected.dtype):
                return f"no {name} that is {expected.dtype} {expected.shape}"
            if np.issubdtype(expected.dtype, np.integer):
                wrong = int(((values != expected) & ~explained_by_rounding(self.margins, self.tolerance)).sum())
                if wrong:
                    return f"{name} differs for {wrong} of {len(expected)} images, beyond rounding"
                continue
            difference = float(np.abs(values - expected).max())
            if not difference <= self.tolerance:  # refuses nan too
                return f"{name} differ by {difference:.3g} (allowed {self.tolerance:g})"
        return None


def golden_by_precision(export: ExportDirectory, precisions: Iterable[Precision]) -> dict[Precision, Golden]:
    """Read the expected outputs of each precision; int8 has those recorded when its file was written.

    Raises:
        AaeError: the vectors are absent or damaged.
    """
    expected = {}
    for precision in precisions:
        coarse = GATES[precision].tolerance is None
        expected[precision] = Golden.of_case(golden_case(export, precision if coarse else "fp32"), precision)
    return expected
