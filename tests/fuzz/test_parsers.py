"""Every parser of every source under libFuzzer: no crash, no hang, bounded memory.

A test run tries the same inputs every time, so that it is red for the change it is run on. `make fuzz` looks for new
ones: what it finds goes into a test of its own with the repair.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.tracking.intake.sources.domain import Source
from tests.servers.infrastructure import PROJECT_FOLDER

pytest.importorskip("atheris", reason="atheris has no wheel for this platform; hypothesis fuzzes the same parsers")

_SECONDS_EXPLORING = os.environ.get("ATTAIN_FUZZ_SECONDS")
_AMOUNT = (
    ["-seed=1", "-runs=60000", "-max_total_time=20", "-entropic=0", "-reduce_inputs=0"]
    if _SECONDS_EXPLORING is None
    else [f"-max_total_time={int(_SECONDS_EXPLORING)}"]
)
_TIMEOUT_SECONDS = 120 + int(_SECONDS_EXPLORING or 0)
_MEGABYTES = 768
_HANG_SECONDS = 5
_INPUT_BYTES_MAX = 8192


@pytest.mark.parametrize("source", list(Source))
def test_no_input_crashes_or_hangs_a_parser(source: Source, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, sample in enumerate(sorted((PROJECT_FOLDER / "tests" / "played" / "samples" / source.value).glob("*"))):
        # The last byte chooses what reads the rest: what is sent, or what an API gave.
        for chooser in (b"\x00", b"\x02"):
            (corpus / f"{number}-{chooser.hex()}").write_bytes(sample.read_bytes() + chooser)
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.parsers",
            source.value,
            *_AMOUNT,
            f"-rss_limit_mb={_MEGABYTES}",
            f"-timeout={_HANG_SECONDS}",
            f"-max_len={_INPUT_BYTES_MAX}",
            f"-artifact_prefix={tmp_path}/",
            str(corpus),
        ],
        cwd=PROJECT_FOLDER,
        env={**os.environ, "PYTHONPATH": str(PROJECT_FOLDER), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
