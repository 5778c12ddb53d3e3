"""Entry point of the `polaris` command. A stand-in until the command line is built."""

import sys


def main() -> int:
    """Say that the command does not exist yet. Returns the exit code 1."""
    sys.stderr.write("polaris: the command line is not built yet\n")
    return 1
