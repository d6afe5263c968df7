"""The broker's jars: a checked-in list of coordinates with their SHA-256, brought into the cache once."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from jgo.maven import MavenContext

from deploy.local.errors import StackError

KAFKA_VERSION = "4.1.1"
_LIST_PATH = Path(__file__).with_name("kafka-jars.txt")
_DOWNLOADS_AT_ONCE = 8
_REQUEST_TIMEOUT_SECONDS = 15
_MAVEN_TIMEOUT_SECONDS = 600


class JarsUnreachable(StackError):
    """The jars are not in the cache and no Maven repository could be reached."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned artifact of the broker's class path."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def cache_folder() -> Path:
    """ATTAIN_CACHE_DIR, default ~/.cache/attain."""
    configured = os.environ.get("ATTAIN_CACHE_DIR")
    return Path(configured) if configured else Path.home() / ".cache" / "attain"


def pinned_jars() -> list[Jar]:
    """The list that is checked in beside this module."""
    jars = []
    for line in _LIST_PATH.read_text().splitlines():
        sha256, coordinate = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, sha256))
    return jars


def ensure_jars() -> Path:
    """The folder with exactly the pinned jars, filled and verified on first use.

    Safe to call from several processes at once. Raises `JarsUnreachable` if neither the library nor an installed
    `mvn` can bring them, and `StackError` if what came is not what was pinned.
    """
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(f"Cannot make the cache folder {cache} (ATTAIN_CACHE_DIR): {error.strerror}.") from error
    folder = cache / f"kafka-{KAFKA_VERSION}"
    jars = pinned_jars()
    with (cache / f"kafka-{KAFKA_VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if all((folder / jar.file_name).exists() for jar in jars):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="kafka-", dir=cache) as scratch:
            staging = Path(scratch) / "jars"
            staging.mkdir()
            _fetch(jars, Path(scratch), staging)
            verify(jars, staging)
            staging.rename(folder)
    return folder


def _fetch(jars: Sequence[Jar], scratch: Path, staging: Path) -> None:
    try:
        _fetch_with_library(jars, scratch / "repository", staging)
    except (OSError, RuntimeError) as error:
        mvn = shutil.which("mvn")
        if mvn is None:
            raise JarsUnreachable("The Kafka jars could not be downloaded and there is no mvn to try.") from error
        _fetch_with_maven(mvn, jars, scratch, staging)


def _fetch_with_library(jars: Sequence[Jar], repository: Path, staging: Path) -> None:
    context = MavenContext(
        repo_cache=repository,
        local_repos=[Path.home() / ".m2" / "repository"],
        timeout=_REQUEST_TIMEOUT_SECONDS,
    )

    def fetch(jar: Jar) -> None:
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        shutil.copyfile(component.artifact().resolve(), staging / jar.file_name)

    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        downloads = [pool.submit(fetch, jar) for jar in jars]
        try:
            for download in downloads:
                download.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fetch_with_maven(mvn: str, jars: Sequence[Jar], scratch: Path, staging: Path) -> None:
    dependencies = "".join(
        f"<dependency><groupId>{escape(jar.group)}</groupId><artifactId>{escape(jar.artifact)}</artifactId>"
        f"<version>{escape(jar.version)}</version></dependency>"
        for jar in jars
    )
    project = scratch / "pom.xml"
    project.write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>attain</groupId><artifactId>kafka-jars</artifactId>"
        f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
    )
    command = [
        mvn, "--batch-mode", "--quiet", "--file", str(project),
        "dependency:copy-dependencies", f"-DoutputDirectory={staging}", "-DexcludeTransitive=true",
    ]  # fmt: skip
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_MAVEN_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise JarsUnreachable(f"mvn did not bring the Kafka jars within {_MAVEN_TIMEOUT_SECONDS} s.") from error
    if result.returncode != 0:
        first_line = next(iter(result.stdout.strip().splitlines()), "no output")
        raise JarsUnreachable(f"Neither the download nor mvn brought the Kafka jars: {first_line}")


def verify(jars: Sequence[Jar], folder: Path) -> None:
    """Raise `StackError` for the first file whose SHA-256 is not the pinned one."""
    for jar in jars:
        actual = hashlib.sha256((folder / jar.file_name).read_bytes()).hexdigest()
        if actual != jar.sha256:
            raise StackError(
                f"{jar.file_name} is not the pinned file: SHA-256 {actual}, expected {jar.sha256} ({_LIST_PATH.name})."
            )
