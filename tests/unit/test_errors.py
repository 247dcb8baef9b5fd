from __future__ import annotations

from flatproxy.errors import ChainLoop, ConfigError, Problem


def test_an_error_without_a_message_says_its_docstring() -> None:
    assert str(ChainLoop()) == "A chain that comes back to a name it has passed"
    assert str(ConfigError()) == "A configuration that cannot be used"
    assert str(ConfigError("no such file")) == "no such file"


def test_a_config_error_shows_a_block_for_each_problem_with_the_file() -> None:
    error = ConfigError(
        problems=(
            Problem(key="listen.http", value="9353", reason="not a string", write='"127.0.0.1:9353"'),
            Problem(key="access", reason="missing", write='[access]\nzones = ["."]'),
            Problem(reason="odd", write="something else"),
        ),
        file="f.toml",
    )
    assert str(error).splitlines() == [
        "f.toml: listen.http = 9353: not a string",
        '    write: "127.0.0.1:9353"',
        "f.toml: access: missing",
        "    write: [access]",
        '           zones = ["."]',
        "f.toml: odd",
        "    write: something else",
    ]


def test_a_config_error_without_a_file_begins_with_the_key() -> None:
    assert str(ConfigError(problems=(Problem(key="a", reason="b", write="c"),))) == "a: b\n    write: c"
