"""`make fuzz` says how what it found can be had again."""

import subprocess
import sys
from pathlib import Path

from tests.servers.infrastructure import PROJECT_FOLDER

_PLANTED = """
from hypothesis import given
from hypothesis import strategies as st

@given(st.integers())
def test_planted(number):
    assert number < 100
"""


def test_an_example_that_fails_is_printed_with_what_reproduces_it(tmp_path: Path) -> None:
    planted = tmp_path / "test_planted.py"
    planted.write_text(_PLANTED)
    wanted = subprocess.run(
        ["make", "--dry-run", "fuzz", "SEED=7"], cwd=PROJECT_FOLDER, capture_output=True, text=True, check=True
    )
    assert "ATTAIN_FUZZ_SEED=7 " in wanted.stdout
    (explored,) = (line for line in wanted.stdout.splitlines() if "-m hypothesis" in line)
    _, _, options = explored.partition(" -m pytest ")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", *options.split(), str(planted)],
        cwd=PROJECT_FOLDER,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "--hypothesis-seed=7" in explored
    assert "number=100" in done.stdout
    assert "@reproduce_failure(" in done.stdout
