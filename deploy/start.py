"""Start a process of the product sooner: `python -m deploy.start services.goals.worker`, which may have arguments.

Everything that is imported stays, and Python's collector of garbage looks through it again and again while more comes:
a sixth of what a start takes. It is off until the process serves (`shared.http.collector`).
"""

import gc
import sys
from runpy import run_module


def main() -> None:
    """Run the module that the first argument names, with those after it."""
    del sys.argv[0]
    gc.disable()
    run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
