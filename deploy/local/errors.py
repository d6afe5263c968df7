"""The error of a local stack that cannot go on."""


class StackError(Exception):
    """One sentence for the person at the terminal; the `attain` command prints it and exits with status 1."""
