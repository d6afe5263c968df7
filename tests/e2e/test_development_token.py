"""The command of the README prints a token that every API takes."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deploy.local.stack import Stack
from shared.http.auth import Role
from tests.servers.infrastructure import PROJECT_FOLDER

_READ_BY_ALL = {
    "goals": "/v1/people",
    "tracking": "/v1/progress",
    "incentives": "/v1/plans",
}


def documented() -> str:
    """The command as the README has it."""
    (command,) = set(re.findall(r"`(attain token [^`]*)`", (PROJECT_FOLDER / "README.md").read_text()))
    return str(command)


def printed(command: str, stack: Stack) -> str:
    """What the command prints in the environment of a running stack."""
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *arguments],
        env={**os.environ, "ATTAIN_STATE_DIR": str(stack.configuration.state_folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("role", list(Role))
def test_a_token_of_the_command_in_the_readme_is_taken_by_every_api(stack: Stack, role: Role) -> None:
    command = documented()
    assert "--role admin" in command
    token = printed(command.replace("--role admin", f"--role {role.value}"), stack)
    for service, path in _READ_BY_ALL.items():
        answer = httpx.get(
            stack.url(f"{service}-api") + path, headers={"authorization": f"Bearer {token}"}, trust_env=False
        )
        assert answer.status_code == 200, (service, role, answer.text)
