"""A Postgres whose tables lie on a small disk of their own, which can be filled and emptied.

The disk is a tmpfs that only the server's processes see: it is mounted in a mount namespace of a thread of ours, which
starts them, and is gone with them. That takes the right to mount, as root has. WAL stays outside it: a server
that cannot write it crashes, which is another fault.
"""

import asyncio
import ctypes
import os
import pwd
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy.engine import make_url

from deploy.local.postgres import PostgresServer
from tests.servers.infrastructure import own_ports, temporary_folder

_SIZE_MIB: Final = 96
_CLONE_NEWNS: Final = 0x20000
_MS_PRIVATE_ALL: Final = 0x40000 | 0x4000
_PIECE: Final = bytes(65_536)
_DATABASE: Final = "attain_on_small_disk"


class SmallDisk:
    """The disk, and the URL of the database on it."""

    def __init__(self, thread: ThreadPoolExecutor, folder: Path, url: str) -> None:
        self.url = url
        self._thread = thread
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave not a byte free."""
        self._thread.submit(self._fill).result()

    def empty(self) -> None:
        """Free what `fill` took."""
        self._thread.submit(self._filler.unlink, missing_ok=True).result()

    def _fill(self) -> None:
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while filler.write(_PIECE):
                    pass
            except OSError:
                return


def may_mount() -> bool:
    """Whether this process may have a disk of its own."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        try:
            thread.submit(_enter_namespace).result()
        except OSError:
            return False
    return True


@contextmanager
def postgres_on_small_disk() -> Iterator[SmallDisk]:
    """A running server, for the block."""
    # Postgres ends with the thread that started it, so the thread stays.
    with temporary_folder("small-disk") as folder, ThreadPoolExecutor(max_workers=1) as thread:
        disk = folder / "disk"
        disk.mkdir()
        thread.submit(_mount, disk).result()
        server = PostgresServer(folder / "postgres", port=own_ports().postgres)
        try:
            thread.submit(server.start).result()
            thread.submit(_create_database, server.url(), disk).result()
            url = make_url(server.url()).set(database=_DATABASE).render_as_string(hide_password=False)
            yield SmallDisk(thread, disk, url)
        finally:
            server.stop()


def _enter_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_PRIVATE_ALL, None):
        raise OSError(ctypes.get_errno(), "no mount namespace of our own")


def _mount(disk: Path) -> None:
    _enter_namespace()
    options = f"size={_SIZE_MIB}m,mode=0711".encode()
    if ctypes.CDLL(None, use_errno=True).mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, options):
        raise OSError(ctypes.get_errno(), f"cannot mount {disk}")
    tables = disk / "tables"
    tables.mkdir(mode=0o700)
    account = pwd.getpwnam("nobody")
    os.chown(tables, account.pw_uid, account.pw_gid)


def _create_database(url: str, disk: Path) -> None:
    async def create() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(f"CREATE TABLESPACE small_disk LOCATION '{disk}/tables'")
            await connection.execute(f"CREATE DATABASE {_DATABASE} TEMPLATE template0 TABLESPACE small_disk")
        finally:
            await connection.close()

    asyncio.run(create())
