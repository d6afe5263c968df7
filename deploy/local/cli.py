"""The `attain` command. What goes wrong in a known way is one sentence on standard error and exit status 1."""

import signal
import sys

import typer

from deploy.local.commands.asyncapi import asyncapi
from deploy.local.commands.bench import bench
from deploy.local.commands.dead_letters import dead_letters, replay_dead_letters
from deploy.local.commands.demo import demo
from deploy.local.commands.migrate import migrate
from deploy.local.commands.openapi import openapi
from deploy.local.commands.replay import replay
from deploy.local.commands.republish import republish
from deploy.local.commands.seed import seed
from deploy.local.commands.token import token
from deploy.local.commands.up import up
from deploy.local.commands.verify import verify
from deploy.local.errors import StackError
from shared.kernel.errors import AttainError
from shared.telemetry.logs import configure as configure_logs

app = typer.Typer(
    name="attain",
    help="Sales goals, live progress and incentive pay on one machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(up)
app.command()(demo)
app.command()(seed)
app.command()(migrate)
app.command()(replay)
app.command()(verify)
app.command()(republish)
app.command()(dead_letters)
app.command()(replay_dead_letters)
app.command()(bench)
app.command()(token)
app.command()(openapi)
app.command()(asyncapi)


def main() -> None:
    """Entry point; SIGTERM and SIGHUP end a command as Ctrl-C does, also in the background of a script."""
    configure_logs("attain", level="ERROR")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    signal.signal(signal.SIGHUP, _as_ctrl_c)
    try:
        app()
    except (StackError, AttainError) as error:
        print(f"attain: {error}", file=sys.stderr)
        sys.exit(1)


def _as_ctrl_c(_number: int, _frame: object) -> None:
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
