"""What the local stack says when it cannot go on."""


class StackError(Exception):
    """One sentence for the person at the terminal; the `attain` command prints it and exits with status 1."""
