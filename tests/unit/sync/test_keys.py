from __future__ import annotations

from typing import TYPE_CHECKING

import dns.tsig
import pytest

from flatproxy.errors import ConfigError
from flatproxy.sync.keys import read_tsig
from flatproxy.sync.signers import TsigSigner
from tests.support.primaries import KEY, KEY_FILE, SECRET

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "sync.key"
    made.touch(0o600)
    return made


def reason(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_tsig(path)
    assert SECRET not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        KEY_FILE,
        KEY_FILE.replace(f'"{KEY}"', KEY),
        f'# a comment with key "x" {{ }};\nkey {KEY} {{ secret "{SECRET}"; /* here, too */ algorithm HMAC-SHA256; }};',
        KEY_FILE.replace("\n", " "),
    ],
)
def test_a_key_as_tsig_keygen_writes_it(path: Path, text: str) -> None:
    path.write_text(text)
    key = read_tsig(path)
    assert (key.name.to_text(), key.algorithm) == (f"{KEY}.", dns.tsig.HMAC_SHA256)
    assert SECRET not in repr(TsigSigner(key))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a file with one key is needed, this has 0"),
        (KEY_FILE * 2, "this has 2"),
        (KEY_FILE.replace("hmac-sha256", "hmac-md5"), "its algorithm is not one of"),
        (KEY_FILE.replace(SECRET, "not-base64!"), "its name or secret is none"),
        (KEY_FILE.replace(SECRET, ""), "it has no secret"),
        (KEY_FILE.replace(KEY, "a..b"), "its name or secret is none"),
    ],
)
def test_what_is_no_key(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    assert said in reason(path)


def test_a_file_that_is_not_there_and_one_that_others_can_read(path: Path) -> None:
    assert "cannot be read" in reason(path.with_name("other"))
    path.write_text(KEY_FILE)
    path.chmod(0o604)
    assert "other users can use this file" in reason(path)
