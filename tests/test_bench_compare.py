import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from pytest_benchmark.utils import get_machine_id

BENCHMARKS = REPOSITORY / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.exists(), reason="the source distribution is without benchmarks")


def collect(storage: Path) -> subprocess.CompletedProcess[str]:
    flags = ["--collect-only", "-q", "-p", "no:cacheprovider", f"--benchmark-storage=file://{storage}"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(BENCHMARKS),
        f"--rootdir={REPOSITORY}",
        *flags,
        "--benchmark-compare",
    ]
    return subprocess.run(command, cwd=storage, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_saved_run_that_lacks_a_benchmark_is_not_compared_with(tmp_path: Path) -> None:
    everything = collect(tmp_path)
    assert everything.returncode == 0
    names = [line for line in everything.stdout.splitlines() if line.startswith("benchmarks/")]
    assert len(names) == 32
    saved = tmp_path / get_machine_id() / "0001_saved.json"
    saved.parent.mkdir()
    for kept, status in ((names, 0), (names[1:], 1)):
        runs = [{"fullname": name, "stats": {"ops": 1, "mean": 1, "rounds": 1}} for name in kept]
        saved.write_text(json.dumps({"benchmarks": runs, "machine_info": {}}))
        done = collect(tmp_path)
        assert done.returncode == status, done.stdout + done.stderr
        assert ("not in the saved run" in done.stdout + done.stderr) == (status == 1)
