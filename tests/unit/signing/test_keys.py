from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import dns.dnssec
import dns.name
import dns.rdatatype
import dns.zonefile
import pytest

from flatproxy.config.secret_files import is_shared
from flatproxy.errors import ConfigError
from flatproxy.signing import keys
from flatproxy.signing.rrsig import sign
from tests.unit.signing.keyring import ALGORITHMS, NOW, ZONE, key, rrset, validate

PLACE = 'dnssec."example.com".key'

# Throw-away keys, as each tool writes them.
BIND_KEY = """\
; This is a zone-signing key, keyid 53641, for example.com.
; Created: 20261125183722 (Wed Nov 25 18:37:22 2026)
example.com. IN DNSKEY 256 3 13 gXnaRA7AHmxYsqclua05Ju5m+JM/fJni024p2BNIJGdY/Wj+FsmEjUGo 267S7Z1cDKBO6IOKwi5drVHOUprOSg==
"""  # noqa: E501
BIND_PRIVATE = """\
Private-key-format: v1.3
Algorithm: 13 (ECDSAP256SHA256)
PrivateKey: kD1DZKNHz27gqjEHOi9iLGyn4BQGSL0IIWZHu/XJkzU=
Created: 20261125183722
Publish: 20261125183722
Activate: 20261125183722
"""
LDNS_KEY = (
    "example.com.\tIN\tDNSKEY\t256 3 15 fBsifndaUicVhj9deQ96iH9xBq/3NmbKV5fX1ByJD5M= ;{id = 62543 (zsk), size = 256b}\n"
)
LDNS_PRIVATE = """\
Private-key-format: v1.2
Algorithm: 15 (ED25519)
PrivateKey: pmGvYs805woHLOWxpeZWLHCGZtNRJubmy6916iBeOss=
"""


def pair(directory: Path, public: str, private: str, mode: int = 0o600) -> Path:
    base = directory / "Kexample.com.+013+53641"
    Path(f"{base}.key").write_text(public)
    Path(f"{base}.private").write_text(private)
    Path(f"{base}.private").chmod(mode)
    return base


def refused(base: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        keys.read(base, ZONE, PLACE)
    (problem,) = caught.value.problems
    assert problem.key == PLACE
    assert problem.write
    return problem.reason


def signs(read: keys.Key) -> bool:
    made = sign([read], ZONE, 1, 300, [b"\xc0\0\2\1"], now=NOW)
    validate(rrset(ZONE, 1, 300, [b"\xc0\0\2\1"]), made.rdatas, [read], NOW)
    return True


class TestRead:
    @pytest.mark.parametrize(
        ("public", "private", "tag"), [(BIND_KEY, BIND_PRIVATE, 53_641), (LDNS_KEY, LDNS_PRIVATE, 62_543)]
    )
    def test_as_the_tools_write_them(self, public: str, private: str, tag: int, tmp_path: Path) -> None:
        read = keys.read(pair(tmp_path, public, private), ZONE, PLACE)
        assert (read.tag, read.is_ksk) == (tag, False)
        assert signs(read)

    def test_a_path_with_a_suffix_means_the_pair(self, tmp_path: Path) -> None:
        base = pair(tmp_path, BIND_KEY, BIND_PRIVATE)
        assert keys.read(Path(f"{base}.private"), ZONE) == keys.read(Path(f"{base}.key"), ZONE)

    def test_a_key_signing_key_says_so(self, tmp_path: Path) -> None:
        read = keys.read(pair(tmp_path, BIND_KEY.replace("256 3", "257 3"), BIND_PRIVATE), ZONE)
        assert read.is_ksk

    @pytest.mark.parametrize("mode", [0o660, 0o604, 0o620, 0o610, 0o601, 0o666])
    def test_a_private_file_that_others_can_use_is_refused(self, mode: int, tmp_path: Path) -> None:
        assert f"mode is {mode:04o}" in refused(pair(tmp_path, BIND_KEY, BIND_PRIVATE, mode))

    @pytest.mark.parametrize(
        ("mode", "uid", "gid", "shared"),
        [
            (0o600, 1000, 1000, False),
            (0o400, 1000, 1000, False),
            (0o440, 0, 0, False),
            (0o440, 0, 1000, True),
            (0o440, 1000, 0, True),
            (0o460, 0, 0, True),
            (0o444, 0, 0, True),
        ],
    )
    def test_a_credential_of_systemds_is_nobody_elses(self, mode: int, uid: int, gid: int, shared: bool) -> None:
        status = os.stat_result((stat.S_IFREG | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
        assert is_shared(status) is shared

    def test_no_file(self, tmp_path: Path) -> None:
        assert refused(tmp_path / "Kexample.com.+013+00001") == ".key: no such file or directory"
        base = pair(tmp_path, BIND_KEY, BIND_PRIVATE)
        Path(f"{base}.private").unlink()
        assert refused(base) == ".private: no such file or directory"

    @pytest.mark.parametrize(
        ("public", "reason"),
        [
            (BIND_KEY.replace("example.com. IN", "example.net. IN"), "the key of example.net"),
            (BIND_KEY.replace("256 3", "0 3"), "not the key of a zone"),
            (BIND_KEY.replace("256 3", "256 2"), "not the key of a zone"),
            (BIND_KEY.replace("256 3", "384 3"), "revoked"),
            (BIND_KEY + LDNS_KEY, "not one DNSKEY record"),
            ("", "not one DNSKEY record"),
            ("example.com. IN A 192.0.2.1\n", "not one DNSKEY record"),
            ("noise", "not a DNSKEY record"),
            ("example.com. IN DNSKEY 256 3 13 %%\n", "not a DNSKEY record"),
            (LDNS_KEY, "not the private half"),
            (BIND_KEY.replace("gXna", "gXnb"), "not the private half"),
        ],
    )
    def test_a_key_file_that_is_none_of_the_zone(self, public: str, reason: str, tmp_path: Path) -> None:
        assert reason in refused(pair(tmp_path, public, BIND_PRIVATE))

    @pytest.mark.parametrize(
        ("private", "reason"),
        [
            ("", "not a private key in BIND's format"),
            (BIND_PRIVATE.replace("v1.3", "v2.0"), "not a private key in BIND's format"),
            (BIND_PRIVATE.replace("Algorithm: 13", "Algorithm: ?"), "number of its algorithm"),
            (BIND_PRIVATE.replace("Algorithm: 13", "Algorithm: 5"), "algorithm, number 5"),
            (BIND_PRIVATE.replace("Algorithm: 13", "Algorithm: 8"), "without the field Modulus"),
            (BIND_PRIVATE.replace("PrivateKey:", "Label:"), "hardware"),
            (BIND_PRIVATE.replace("PrivateKey: kD1D", "PrivateKey: ?"), "make no key"),
            (BIND_PRIVATE.replace("PrivateKey: kD1D", "PrivateKey: lD1D"), "not the private half"),
            (LDNS_PRIVATE.replace("pmGv", ""), "make no key"),
        ],
    )
    def test_a_private_file_that_is_no_key(self, private: str, reason: str, tmp_path: Path) -> None:
        assert reason in refused(pair(tmp_path, BIND_KEY, private))

    def test_no_error_shows_the_secret(self, tmp_path: Path) -> None:
        secret = "kD1DZKNHz27gqjEHOi9iLGyn4BQGSL0IIWZHu"
        for private in (BIND_PRIVATE.replace("XJkzU=", "XJkz"), BIND_PRIVATE.replace("Algorithm: 13", "Algorithm: 8")):
            with pytest.raises(ConfigError) as caught:
                keys.read(pair(tmp_path, BIND_KEY, private), ZONE)
            assert secret not in str(caught.value)
        assert "rivate" not in repr(keys.read(pair(tmp_path, BIND_KEY, BIND_PRIVATE), ZONE))

    @pytest.mark.parametrize("tool", ["dnssec-keygen", "ldns-keygen"])
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_what_an_installed_tool_makes(self, tool: str, algorithm: str, tmp_path: Path) -> None:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
        command = [tool, "-a", algorithm, "example.com"]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()[-1]
        read = keys.read(tmp_path / made, ZONE, PLACE)
        assert made == f"Kexample.com.+{read.algorithm:03}+{read.tag:05}"
        assert signs(read)


class TestWrite:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_it_is_read_again(self, algorithm: str, tmp_path: Path) -> None:
        base = keys.write_pair(key(algorithm), tmp_path)
        assert base.name == f"Kexample.com.+{key(algorithm).algorithm:03}+{key(algorithm).tag:05}"
        read = keys.read(base, ZONE, PLACE)
        assert read == key(algorithm)
        assert read.dnskey.flags == 256
        assert signs(read)

    def test_the_record_is_one_line_of_a_zone_file(self) -> None:
        (there,) = dns.zonefile.read_rrsets(key("RSASHA256").record, rdclass=None, default_ttl=60)
        assert there.to_text().split()[:5] == ["example.com.", "60", "IN", "DNSKEY", "256"]

    def test_only_the_owner_can_use_the_private_file(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            base = keys.write_pair(key(), tmp_path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(Path(f"{base}.private").stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(f"{base}.key").stat().st_mode) == 0o644

    @pytest.mark.parametrize("suffix", [".key", ".private"])
    def test_nothing_is_overwritten_and_nothing_left_behind(self, suffix: str, tmp_path: Path) -> None:
        there = Path(f"{keys.write_pair(key(), tmp_path)}{suffix}")
        for other in list(tmp_path.iterdir()):
            if other != there:
                other.unlink()
        there.write_text("precious")
        with pytest.raises(FileExistsError):
            keys.write_pair(key(), tmp_path)
        assert list(tmp_path.iterdir()) == [there]
        assert there.read_text() == "precious"

    @pytest.mark.parametrize(
        ("zone", "name"),
        [
            ("0/25.2.0.192.in-addr.arpa.", "K0%2F25.2.0.192.in-addr.arpa.+015+"),
            (r"_a-b.\(x\).example.", "K_a-b.%28x%29.example.+015+"),
            ("test.", "Ktest.+015+"),
        ],
    )
    def test_a_file_is_named_as_bind_names_it(self, zone: str, name: str, tmp_path: Path) -> None:
        apex = dns.name.from_text(zone).to_wire() or b""
        base = keys.write_pair(keys.generate(apex, "ED25519"), tmp_path)
        assert base.name.startswith(name)
        assert keys.read(base, apex).zone == apex
