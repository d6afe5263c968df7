"""Every parser of every source under libFuzzer: no crash, no hang, bounded memory.

A test run tries the same inputs every time, so that it is red for the change it is run on. `make fuzz` looks for new
ones: what it finds is printed as a test, to be kept with the repair, and stays in `.fuzz/`.
"""

import os
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from textwrap import fill

import pytest

from services.tracking.intake.sources.domain import Source
from tests.servers.infrastructure import PROJECT_FOLDER

pytest.importorskip("atheris", reason="atheris has no wheel for this platform; hypothesis fuzzes the same parsers")

_SECONDS_EXPLORING = os.environ.get("ATTAIN_FUZZ_SECONDS")
_AMOUNT = (
    ["-seed=1", "-runs=60000", "-max_total_time=20", "-entropic=0", "-reduce_inputs=0"]
    if _SECONDS_EXPLORING is None
    else [f"-seed={os.environ.get('ATTAIN_FUZZ_SEED', '0')}", f"-max_total_time={int(_SECONDS_EXPLORING)}"]
)
_TIMEOUT_SECONDS = 120 + int(_SECONDS_EXPLORING or 0)
_MEGABYTES = 768
_HANG_SECONDS = 5
_INPUT_BYTES_MAX = 8192
_FINDINGS = PROJECT_FOLDER / ".fuzz"
_FUZZER = ("-m", "tests.fuzz.parsers")
_PLANTED = """
from tests.fuzz import parsers

def broken(target, body):
    assert b"deal" not in body, "planted"

parsers.Target._translate = broken
parsers.main()
"""


@pytest.mark.parametrize("source", list(Source))
def test_no_input_crashes_or_hangs_a_parser(source: Source, tmp_path: Path) -> None:
    assert fuzzed(source, tmp_path, _FINDINGS / source.value) is None


def test_what_is_found_is_kept_and_printed_as_a_test_with_its_seed(tmp_path: Path) -> None:
    findings = tmp_path / "findings"
    printed = fuzzed(Source.HUBSPOT, tmp_path, findings, fuzzer=("-c", _PLANTED))
    assert printed is not None
    (kept,) = findings.iterdir()
    assert str(kept) in printed
    assert re.search(r"Seed: \d+\. StoredDelivery in", printed)
    assert "AssertionError: planted" in printed
    _, _, test = printed.partition("As a test:\n")
    inputs: list[bytes] = []
    defined: dict[str, object] = {"Target": lambda _: inputs.append, "Source": Source, "b64decode": b64decode}
    exec(f"{test}\ntest_an_input_that_was_found()", defined)
    assert inputs == [kept.read_bytes()]
    assert b"deal" in inputs[0]


def fuzzed(source: Source, folder: Path, findings: Path, *, fuzzer: tuple[str, str] = _FUZZER) -> str | None:
    """None when nothing was found, else all there is to say of it: the input is kept among the findings."""
    corpus = folder / "corpus"
    corpus.mkdir()
    findings.mkdir(parents=True, exist_ok=True)
    found_before = set(findings.iterdir())
    for number, sample in enumerate(sorted((PROJECT_FOLDER / "tests" / "played" / "samples" / source.value).glob("*"))):
        # The last byte chooses what reads the rest: what is sent, or what an API gave.
        for chooser in (b"\x00", b"\x02"):
            (corpus / f"{number}-{chooser.hex()}").write_bytes(sample.read_bytes() + chooser)
    ended = subprocess.run(
        [
            sys.executable,
            *fuzzer,
            source.value,
            *_AMOUNT,
            f"-rss_limit_mb={_MEGABYTES}",
            f"-timeout={_HANG_SECONDS}",
            f"-max_len={_INPUT_BYTES_MAX}",
            f"-artifact_prefix={findings}/",
            str(corpus),
        ],
        cwd=PROJECT_FOLDER,
        env={**os.environ, "PYTHONPATH": str(PROJECT_FOLDER), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
    )
    if ended.returncode == 0:
        return None
    said = ended.stdout[-2000:] + ended.stderr[-4000:]
    seed = "".join(re.findall(r"INFO: (Seed: \d+)", ended.stderr))
    inputs = [path for path in findings.iterdir() if path not in found_before]
    return "\n".join(
        [said, *(f"{seed}. StoredDelivery in {path}. As a test:\n{as_test(source, path)}" for path in inputs)]
    )


def as_test(source: Source, kept: Path) -> str:
    encoded = fill(b64encode(kept.read_bytes()).decode(), 100, initial_indent=" " * 8, subsequent_indent=" " * 8)
    lines = "\n".join(f'        "{line.strip()}"' for line in encoded.splitlines())
    return f"""
def test_an_input_that_was_found() -> None:
    encoded = (
{lines}
    )
    Target(Source.{source.name})(b64decode(encoded))
"""
