"""The command ``segadv_monai``: its verbs, and one line for a user's fault."""

import argparse
import sys
from collections.abc import Sequence
from typing import Never

from segadv_monai.protocols import SegAdvError

from .check import add_check
from .twin import add_twin

__all__ = ["main"]

_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: what follows the command's name; by default those of this process.

    Returns:
        The exit code: 0, 2 for a command that cannot be understood, else what the verb says.
    """
    text = "Adversarial medical image segmentation with MONAI."
    parser: argparse.ArgumentParser = _Parser(prog="segadv_monai", description=text)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for add in (add_check, add_twin):
        add(verbs)
    given, rest = parser.parse_known_args(arguments)
    if rest and "settings" not in given:
        parser.error(f"there is no {rest[0]}")
    given.settings = rest
    try:
        code: int = given.action(given)
    except SegAdvError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return _USAGE
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        self.exit(_USAGE, f"error: {message}: see {self.prog} --help\n")
