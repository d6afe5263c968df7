"""`attain migrate`: bring a database to this version."""

import os

from rich.console import Console

from deploy.local.errors import StackError
from deploy.local.migrations import migrate as migrate_database


def migrate() -> None:
    """Upgrade the three schemas in the database of ATTAIN_DATABASE_URL."""
    url = os.environ.get("ATTAIN_DATABASE_URL")
    if not url:
        raise StackError(
            "Set ATTAIN_DATABASE_URL to the database to migrate; `attain up` migrates the embedded one by itself."
        )
    migrate_database(url)
    Console().print("The database schemas are up to date.")
