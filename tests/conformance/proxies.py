"""The proxies that the suite can start: flatproxy and dnsdist, each with its configuration written from Options."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING

from tests.support.ports import free_port

from .subject import Direct, External, Subject, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.ports import Address


def _endpoint(where: Address) -> str:
    return f"[{where[0]}]:{where[1]}" if ":" in where[0] else f"{where[0]}:{where[1]}"


def _toml(value: object) -> str:
    """Return a TOML value; JSON's strings, numbers, booleans and arrays are TOML's too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


class Flatproxy(Subject):
    """`python -m flatproxy run`, ready when its log says so."""

    kind = "flatproxy"
    has_reload = True
    can_flatten = True

    def start(self, wait_s: float = 60.0) -> None:
        config = self.folder / "flatproxy.toml"
        self.write_config()
        self.launch([sys.executable, "-m", "flatproxy", "run", "--config", str(config), "--log-format", "json"])
        self.wait_ready(lambda: self.events("listening"), wait_s)
        listening = self.events("listening")[0]
        self.port = int(str(listening["dns"][0]).rsplit(":", 1)[1])
        self.http_port = int(str(listening["http"]).rsplit(":", 1)[1])
        if self.options.flatten:
            self.wait_ready(lambda: self.events("ready"), wait_s)
        self.wait_probe(wait_s)

    def write_config(self) -> None:
        """Write the file from the options as they are now; a reload reads it again."""
        config = self.folder / "flatproxy.toml"
        config.write_text("\n".join(self._lines()) + "\n")
        config.chmod(0o600)

    def reload(self) -> None:
        """Send SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def events(self, event: str) -> list[Mapping[str, list[str]]]:
        """Return the log's objects of one kind."""
        out: list[Mapping[str, list[str]]] = []
        for line in self.log().splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and found.get("event") == event:
                out.append(found)
        return out

    def _lines(self) -> Iterator[str]:
        options = self.options
        tables: dict[str, dict[str, object]] = {
            "listen": {
                "dns": [_endpoint((host, options.port)) for host in options.listen],
                "http": "127.0.0.1:0",
            },
            "upstream": {"servers": [*map(_endpoint, options.backends)], "timeout": options.upstream_timeout},
            "access": {key: getattr(options, key) for key in ("zones", "query", "transfer", "update", "notify")},
        }
        # What the resolvers of these tests tell of are addresses of documentation, and of the loopback.
        tables["defaults"] = {"special": "allow"}
        if options.resolvers:
            tables["resolver"] = {
                "servers": [*map(_endpoint, options.resolvers)],
                "timeout": options.resolver_timeout,
            }
        for name, rule in options.flatten.items():
            tables[f'flatten."{name}"'] = {
                "target": rule.target, "fallback": rule.fallback, "any": rule.any, "max_ttl": rule.max_ttl,
            }  # fmt: skip
        if options.state is not None:
            tables["state"] = {"path": str(options.state)}
        for table, values in options.tables.items():
            tables[table] = {**tables.get(table, {}), **values}
        for table, values in tables.items():
            yield f"[{table}]"
            yield from (f"{key} = {_toml(value)}" for key, value in values.items())


class Dnsdist(Subject):
    """Debian's dnsdist, set up as its documentation advises, in front of the same backends."""

    kind = "dnsdist"
    can_flatten = True

    def start(self, wait_s: float = 60.0) -> None:
        self.port = self.options.port or free_port(self.host)
        self.http_port = free_port()
        config = self.folder / "dnsdist.conf"
        config.write_text("\n".join(self._lines()) + "\n")
        self.launch([program("dnsdist"), "--supervised", "--disable-syslog", "-C", str(config)])
        marker = f"Listening on {self.options.listen[-1]}:{self.port}"
        self.wait_ready(lambda: marker in self.log() or "Polled" in self.log(), wait_s)
        self.wait_probe(wait_s)

    def _lines(self) -> Iterator[str]:
        for index, host in enumerate(self.options.listen):
            call = "setLocal" if index == 0 else "addLocal"
            yield f'{call}("{_endpoint((host, self.port))}", {{tcpListenQueueSize=1024}})'
        yield "setACL({" + ", ".join(f'"{network}"' for network in self.options.query) + "})"
        yield 'setSecurityPollSuffix("")'
        yield "setServFailWhenNoServer(true)"
        yield "setUDPSocketBufferSizes(4194304, 4194304)"
        for backend in self.options.backends:
            yield f'newServer({{address="{_endpoint(backend)}", sockets=8, checkInterval=1, maxCheckFailures=2}})'
        yield f'webserver("127.0.0.1:{self.http_port}")'
        yield 'setWebserverConfig({password="conformance", statsRequireAuthentication=false, acl="127.0.0.0/8"})'
        for name, rule in self.options.flatten.items():
            addresses = ", ".join(f'"{address}"' for address in rule.stand_in)
            asked = f'QNameRule("{name}"), QClassRule(DNSClass.IN), OpcodeRule(DNSOpcode.Query)'
            yield f"addAction(AndRule({{{asked}, EDNSVersionRule(0)}}), ERCodeAction(DNSRCode.BADVERS))"
            types = ", ".join(f"QTypeRule(DNSQType.{rdtype})" for rdtype in ("A", "AAAA", "ANY"))
            spoof = f"SpoofAction({{{addresses}}}, {{ttl={rule.stand_in_ttl}, aa=true, ra=false}})"
            yield f"addAction(AndRule({{{asked}, OrRule({{{types}}})}}), {spoof})"
        yield from self.options.dnsdist


SUBJECTS: dict[str, type[Subject]] = {kind.kind: kind for kind in (Flatproxy, Dnsdist, Direct, External)}
