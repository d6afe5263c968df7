"""`attain up`: the whole product until Ctrl-C."""

from typing import Annotated

import typer
from rich.console import Console

from deploy.local.configuration import StackConfiguration
from deploy.local.stack import Stack, clear_state


def up(
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the state of earlier runs first.")] = False,
) -> None:
    """Run Postgres, Kafka, the three APIs and the three workers until Ctrl-C; state stays between runs."""
    configuration = StackConfiguration.from_environment()
    console = Console()
    if fresh:
        clear_state(configuration.state_folder)
    try:
        with Stack(configuration, report=lambda line: console.print(line, soft_wrap=True)) as stack:
            console.print(f"State and logs are in {configuration.state_folder}.", soft_wrap=True)
            for service in ("goals", "tracking", "incentives"):
                console.print(f"{service:<11} {stack.url(f'{service}-api')}/docs")
            console.print("Ctrl-C stops everything.")
            stack.supervise()
    except KeyboardInterrupt:
        console.print("Stopped.")
