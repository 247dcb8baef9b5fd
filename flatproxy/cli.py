"""The commands: arguments in, text and an exit code out. 0 fine, 1 a failure at run time, 2 usage or configuration."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from flatproxy.errors import ConfigError, FlatproxyError
from flatproxy.forward.native.choice import installed
from flatproxy.process.loading import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flatproxy.config.settings import Settings

FINE = 0
FAILED = 1
WRONG = 2

ALGORITHMS = ("ECDSAP256SHA256", "ECDSAP384SHA384", "ED25519", "RSASHA256")
"""Of the keys that `keygen` makes, the default first."""
MANY = 2_000
"""Flagged names from which on `check` takes more than some seconds."""


def _version() -> str:
    """Return the version, and what takes packets."""
    try:
        choice = installed()
    except FlatproxyError as error:
        return f"flatproxy {version('flatproxy')} ({error})"
    why = f": {choice.why}" if choice.why else ""
    return f"flatproxy {version('flatproxy')} (packets are taken in {choice.text}{why})"


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line; the manual page and the completions are made from it, too."""
    whole = argparse.ArgumentParser(
        prog="flatproxy",
        description="A DNS proxy in front of an existing nameserver: it forwards what is asked, and answers flagged "
        "names with the addresses that another name resolves to.",
    )
    whole.add_argument("--version", action="version", version=_version())
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config", required=True, type=Path, metavar="FILE", help="the configuration file (TOML)")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print JSON")
    run = commands.add_parser("run", parents=[config], help="run the proxy")
    run.add_argument("--log-format", choices=("text", "json"), default="text", help="lines to read, or JSON lines")
    run.add_argument("--user", metavar="NAME", help="become this user once the ports are bound (started as root)")
    commands.add_parser("check", parents=[config, as_json], help="check the file, then what it names")
    explain = commands.add_parser("explain", parents=[config, as_json], help="show one flagged name's chain")
    explain.add_argument("name", metavar="NAME")
    explain.add_argument("--client", metavar="ADDRESS", help="as asked by a client there, who may be in a view")
    explain.add_argument("--subnet", metavar="NETWORK", help="as asked with that EDNS client subnet")
    commands.add_parser("fleet", parents=[config, as_json], help="show the nodes of the fleet, and where they differ")
    keygen = commands.add_parser("keygen", help="make a key that signs the flattened answers of a zone")
    keygen.add_argument("zone", metavar="ZONE", help="the zone's apex")
    keygen.add_argument(
        "--algorithm", choices=ALGORITHMS, default=ALGORITHMS[0], help="the zone's own (default: %(default)s)"
    )
    keygen.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to (default: this directory)")
    sync = commands.add_parser("sync", parents=[config], help="keep the zone's own records in step, without listening")
    sync.add_argument("--once", action="store_true", help="try each name once, say how it stands, and end")
    sync.add_argument("--dry-run", action="store_true", help="say what would be written, as a diff, and end")
    sync.add_argument("--adopt", metavar="NAME", help="note that what the zone has at NAME now is ours, and end")
    sync.add_argument("--log-format", choices=("text", "json"), default="text", help="lines to read, or JSON lines")
    demo = commands.add_parser("demo", help="run the proxy between embedded stand-ins")
    demo.add_argument("--once", action="store_true", help="a scripted tour that ends by itself")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser().parse_args(arguments)
    if options.command == "demo":
        from flatproxy.demo.run import demonstrate

        return FINE if demonstrate(once=options.once) else FAILED
    if options.command == "keygen":
        return _keygen(options.zone, options.algorithm, options.out)
    if options.command == "run":
        return _run(options.config, options.log_format, options.user)
    if options.command == "sync":
        return _sync(options)
    try:
        settings = load_settings(options.config, listening=False)
    except ConfigError as error:
        if options.command == "check" and options.json:
            _print_json(_problems(error))
        else:
            print(error, file=sys.stderr)
        return WRONG
    try:
        if options.command == "check":
            return _check(settings, options.config, as_json=options.json)
        if options.command == "fleet":
            return _fleet(settings, as_json=options.json)
        return _explain(settings, options.name, (options.client, options.subnet), as_json=options.json)
    except KeyboardInterrupt:
        return FAILED


def _keygen(written: str, algorithm: str, directory: Path) -> int:
    """Make a key and say how to publish it."""
    from flatproxy.config.names import zone
    from flatproxy.config.problems import Refusal
    from flatproxy.signing import library

    try:
        apex = zone(written)
        library.require()
    except Refusal as refusal:
        print(f"flatproxy keygen: {written!r}: {refusal.reason}; write {refusal.write}", file=sys.stderr)
        return WRONG
    except ConfigError as error:
        print(f"flatproxy keygen: {error}", file=sys.stderr)
        return WRONG
    from flatproxy.signing.keygen import keygen

    try:
        _print_lines(keygen(apex, algorithm, directory))
    except OSError as error:
        print(f"flatproxy keygen: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    return FINE


def _run(path: Path, log_format: str, user_name: str | None) -> int:
    """Run until SIGTERM or SIGINT."""
    from flatproxy.process.run import run

    try:
        run(path, "json" if log_format == "json" else "text", user_name)
    except FlatproxyError as error:
        return _failed(error)
    return FINE


def _failed(error: FlatproxyError) -> int:
    """Say what went wrong, and return the exit code for it."""
    if isinstance(error, ConfigError):
        print(error if error.file else f"flatproxy: {error}", file=sys.stderr)
        return WRONG
    print(f"flatproxy: {error}", file=sys.stderr)
    return FAILED


def _sync(options: argparse.Namespace) -> int:
    """Keep records in step: once, for one name that is adopted, or until SIGTERM or SIGINT."""
    from flatproxy.process import sync_once, syncing

    path: Path = options.config
    try:
        if options.adopt is not None:
            _print_lines(sync_once.adopt_name(path, options.adopt))
            return FINE
        if options.once or options.dry_run:
            report = sync_once.try_once(path, dry=options.dry_run)
            _print_lines(report.lines())
            return FINE if report.ok else FAILED
        syncing.keep_in_step(path, "json" if options.log_format == "json" else "text")
    except FlatproxyError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return FAILED
    return FINE


def _check(settings: Settings, path: Path, *, as_json: bool) -> int:
    """Probe what the configuration names."""
    from flatproxy.diagnose.check import check
    from flatproxy.diagnose.check_text import render

    if len(settings.flatten) > MANY and sys.stderr.isatty():
        print(f"asking about {len(settings.flatten)} flagged names, which takes a while", file=sys.stderr)
    report = asyncio.run(check(settings, str(path)))
    if as_json:
        _print_json(report.as_json())
    else:
        _print_lines(render(report))
    return FINE if report.ok else FAILED


def _fleet(settings: Settings, *, as_json: bool) -> int:
    """Show the nodes of the fleet; 1 where one is missing, or they differ."""
    if settings.fleet is None:
        print("flatproxy fleet: there is no [fleet] in this file; see docs/fleet.md", file=sys.stderr)
        return WRONG
    from flatproxy.diagnose.fleet import inspect_fleet
    from flatproxy.diagnose.fleet_text import render

    try:
        report = asyncio.run(inspect_fleet(settings))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return WRONG
    except FlatproxyError as error:
        print(f"flatproxy fleet: the store cannot be used: {error}", file=sys.stderr)
        return FAILED
    if as_json:
        _print_json(report.as_json())
    else:
        _print_lines(render(report))
    return FINE if report.ok else FAILED


def _explain(settings: Settings, written: str, by: tuple[str | None, str | None], *, as_json: bool) -> int:
    """Say what becomes of one name, asked by a client, with a client subnet, where these are given."""
    from flatproxy.config.addresses import address, network
    from flatproxy.config.names import flagged_name
    from flatproxy.config.problems import Refusal
    from flatproxy.diagnose.explain import explain
    from flatproxy.diagnose.explain_text import render

    wrong, (client, subnet) = written, by
    try:
        name, wrong = flagged_name(written), client or ""
        asks, wrong = address(client) if client is not None else None, subnet or ""
        around = network(subnet) if subnet is not None else None
    except Refusal as refusal:
        print(f"flatproxy explain: {wrong!r}: {refusal.reason}; write {refusal.write}", file=sys.stderr)
        return WRONG
    report = asyncio.run(explain(settings, name, asks, subnet=around))
    if as_json:
        _print_json(report.as_json())
    else:
        _print_lines(render(report))
    return FINE if report.ok else FAILED


def _problems(error: ConfigError) -> dict[str, object]:
    """Return what is wrong in the file as `check --json` prints its findings."""
    from flatproxy.diagnose.findings import error as finding

    found = [finding(problem.key, problem.value, problem.reason, problem.write) for problem in error.problems]
    return {"ok": False, "findings": [each.as_json() for each in found], "targets": []}


def _print_json(value: object) -> None:
    _print_lines([json.dumps(value, indent=2)])


def _print_lines(lines: Iterable[str]) -> None:
    """Print the lines, also where the terminal's encoding lacks a character, or who reads them (`head`) has enough."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's own flush fails again
