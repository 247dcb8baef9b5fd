"""The commands: arguments in, text and an exit code out. 0 fine, 1 a failure at run time, 2 usage or configuration."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from flatproxy.config.load import load
from flatproxy.errors import ConfigError, FlatproxyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flatproxy.config.settings import Settings

FINE = 0
FAILED = 1
WRONG = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flatproxy",
        description="A DNS proxy in front of an existing nameserver: it forwards what is asked, and answers flagged "
        "names with the addresses that another name resolves to.",
    )
    parser.add_argument("--version", action="version", version=f"flatproxy {version('flatproxy')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration file (TOML)")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print JSON")
    run = commands.add_parser("run", parents=[config], help="run the proxy")
    run.add_argument("--log-format", choices=("text", "json"), default="text", help="lines to read, or JSON lines")
    commands.add_parser("check", parents=[config, as_json], help="check the file, then what it names")
    explain = commands.add_parser("explain", parents=[config, as_json], help="show one flagged name's chain")
    explain.add_argument("name", metavar="NAME")
    demo = commands.add_parser("demo", help="run the proxy between embedded stand-ins")
    demo.add_argument("--once", action="store_true", help="a scripted tour that ends by itself")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "demo":
        from flatproxy.demo.run import main as run_demo

        return run_demo(once=options.once)
    try:
        settings = load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG
    if options.command == "run":
        return _run(settings, options.config, options.log_format)
    raise NotImplementedError


def _run(settings: Settings, path: Path, log_format: str) -> int:
    """Run until SIGTERM or SIGINT."""
    from flatproxy.run import run

    try:
        run(settings, path, "json" if log_format == "json" else "text")
    except FlatproxyError as error:
        print(f"flatproxy: {error}", file=sys.stderr)
        return FAILED
    return FINE
