"""The program's first lines: `flatproxy`, and `python -m flatproxy`.

`flatproxy run` can be told to reload before it is ready to: from here on that is held, so all else is imported later.
"""

import gc
import sys

from flatproxy.process import hangup


def main() -> int:
    """Run a command and return its exit code."""
    if sys.argv[1:2] == ["run"]:
        hangup.hold()
        gc.disable()  # all that is made from here on stays; until `memory.settle`
    from flatproxy.cli import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
