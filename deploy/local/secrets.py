"""Development secrets of one state folder: made once, stored with mode 0600."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from deploy.local.errors import StackError

_FILE_NAME = "secrets.json"


@dataclass(frozen=True, slots=True)
class DevelopmentSecrets:
    """`jwt_secret` signs tokens (HS256); `secrets_key` is the Fernet key for secrets at rest."""

    jwt_secret: str
    secrets_key: str


def ensure_secrets(state_folder: Path) -> DevelopmentSecrets:
    """Read the folder's secrets, making them the first time."""
    path = state_folder / _FILE_NAME
    if not path.exists():
        made = DevelopmentSecrets(jwt_secret=secrets.token_urlsafe(48), secrets_key=Fernet.generate_key().decode())
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(made)))
    return read_secrets(state_folder)


def read_secrets(state_folder: Path) -> DevelopmentSecrets:
    """The folder's secrets; `StackError` if there are none or they cannot be read."""
    path = state_folder / _FILE_NAME
    try:
        return DevelopmentSecrets(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise StackError(f"{state_folder} has no secrets yet: run `attain up`, or set ATTAIN_JWT_SECRET.") from None
    except (OSError, ValueError, TypeError) as error:
        raise StackError(f"{path} cannot be read ({error}): delete it or start with --fresh.") from error


def jwt_secret(state_folder: Path) -> str:
    """ATTAIN_JWT_SECRET, else the folder's."""
    return os.environ.get("ATTAIN_JWT_SECRET") or read_secrets(state_folder).jwt_secret
