"""What a timed run must have given: the golden outputs of its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aae_toolkit.backends.base import Tensors
from aae_toolkit.export.contract import Precision
from aae_toolkit.models.description import read_description
from aae_toolkit.parity.cases import Case
from aae_toolkit.parity.comparison import GATES, REDUCED_GOLDEN_GATE


@dataclass(frozen=True)
class Golden:
    """Images, and the outputs that a classifier must give for them.

    Attributes:
        images: uint8 [N, C, H, W].
        expected: by output name, each [N, ...].
        margins: between the likeliest and the second likeliest category, in probability, [N].
        tolerance: the largest absolute difference of a float output.
    """

    images: NDArray[np.uint8]
    expected: Tensors
    margins: NDArray[np.float64]
    tolerance: float

    @classmethod
    def of_case(cls, case: Case, precision: Precision) -> Golden:
        """The classifier's part of a case of golden images, to be held to the gate of `precision`."""
        tolerance = GATES[precision].tolerance
        if tolerance is None:  # the case is the file's own
            tolerance = REDUCED_GOLDEN_GATE.tolerance
        assert tolerance is not None
        margins = case.top2[:, 1] - case.top2[:, 0]
        return cls(case.inputs["classifier"]["images"], case.expected["classifier"], margins, tolerance)

    def batch(self, size: int) -> Golden:
        """`size` images, repeated as often as needed, from the end: those come last that look like real ones."""
        return self._take((-1 - np.arange(size)) % len(self.images))

    def singles(self) -> list[Golden]:
        """Each image by itself."""
        return [self._take(np.array([i])) for i in range(len(self.images))]

    def _take(self, chosen: NDArray[np.int64]) -> Golden:
        expected = {name: values[chosen] for name, values in self.expected.items()}
        return Golden(self.images[chosen], expected, self.margins[chosen], self.tolerance)

    def problem(self, found: Tensors) -> str | None:
        """What is wrong with these outputs; None where nothing is."""
        for name, expected in self.expected.items():
            values = found.get(name)
            if values is None or (values.shape, values.dtype) != (expected.shape, expected.dtype):
                return f"no {name} that is {expected.dtype} {expected.shape}"
            if np.issubdtype(expected.dtype, np.integer):  # rounding moves either of two categories by the tolerance
                wrong = int(((values != expected) & (self.margins > 2 * self.tolerance)).sum())
                if wrong:
                    return f"{name} differs for {wrong} of {len(expected)} images, beyond rounding"
                continue
            difference = float(np.abs(values - expected).max())
            if not difference <= self.tolerance:  # so that nan is refused
                return f"{name} differ by {difference:.3g} (allowed {self.tolerance:g})"
        return None


def golden_by_precision(export_dir: Path, precisions: Iterable[Precision]) -> dict[Precision, Golden]:
    """What each precision is held against: where rounding is coarse by design, what the file gave where it was written.

    Raises:
        AaeError: absent or damaged vectors.
    """
    from aae_toolkit.parity.golden import golden_case, reduced_golden_case  # brings torch

    description = read_description(export_dir)
    full = golden_case(export_dir, description)
    found = {}
    for precision in precisions:
        own = GATES[precision].tolerance is None
        case = reduced_golden_case(export_dir, description, precision, full) if own else full
        found[precision] = Golden.of_case(case, precision)
    return found
