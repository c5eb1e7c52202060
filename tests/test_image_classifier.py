from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from exports import one_variant
from PIL import Image

from aae_toolkit.data.preparation import Preparation
from aae_toolkit.errors import AaeError
from aae_toolkit.export.contract import Format
from aae_toolkit.export.directory import ExportDirectory
from aae_toolkit.export.writer import export_model
from aae_toolkit.models.description import FILE_NAME, read_description
from aae_toolkit.parity.check import check_parity, replay_golden
from aae_toolkit.progress import Silent

pytestmark = one_variant


def with_preparation(model_dir: Path, target: Path, preparation: Preparation | None) -> Path:
    shutil.copytree(model_dir, target)
    description = read_description(target).model_copy(update={"preparation": preparation})
    (target / FILE_NAME).write_text(description.model_dump_json())
    return target


def test_try(model_dir, data_dir, tmp_path):
    from aae_toolkit.data.directory import DataDirectory
    for i, p in enumerate((Preparation(), Preparation(invert="yes", fit="pad"), Preparation(invert="auto", fit="crop"))):
        model = with_preparation(model_dir, tmp_path / f"m{i}", p)
        export = export_model(model, tmp_path / f"e{i}", (Format.ONNX,), Silent(), whole_images=True)
        print((tmp_path / f"e{i}" / "MODEL_CARD.md").read_text())
        r = replay_golden(export, progress=Silent())
        for c in r.results: print(c.artifact, c.backend, c.passed, c.reason, c.max_abs_diff)
        r = check_parity(export, DataDirectory(data_dir).load("test"), "test", progress=Silent())
        for c in r.results: print(c.artifact, c.backend, c.passed, c.reason, c.max_abs_diff)
