"""YAML that people write: what is read, and one line with the line's number for everything that is not plain."""

from datetime import date

import pytest
import yaml
from dvc.utils.serialize import parse_yaml

from stages.core.plain_yaml import MOST_NESTED, NotPlainYaml, parse
from tests.helpers.places import REPOSITORY


def test_plain_values_are_read():
    text = "a: 1\nb: [x, 'y z', 2.5, null, yes]\n\u00e9: {d: 2024-01-02, 'ON': \"1\", e: }\n"
    expected = {"a": 1, "b": ["x", "y z", 2.5, None, True], "\u00e9": {"d": date(2024, 1, 2), "ON": "1", "e": None}}
    assert parse(text.encode()) == parse(text.encode("utf-8-sig")) == expected
    assert parse(b"") is None


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "data/manifests/hex/batches.yaml"])
def test_a_file_of_the_repository_is_read_as_yaml_reads_it(name):
    content = (REPOSITORY / name).read_bytes()
    assert parse(content) == yaml.safe_load(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: &b 2", "line 2: anchor &b, expected none"),
        ("a: 1\nb: *b", "line 2: alias *b, expected the value itself"),
        ("a:\n  <<: {b: 1}", "line 2: << merges sections"),
        ("a: !!int '5'", "line 1: tag 'tag:yaml.org,2002:int', expected a value without one"),
        ("a: ! 5", "line 1: tag '!'"),
        ("a:\n  b: 1\n  c: 2\n  b: 3", "line 4: key 'b' again, first in line 2; remove one of them"),
        ("{a: 1, 'a': 2}", "line 1: key 'a' again, first in line 1"),
        ("ON: 1", 'line 1: key ON is read as bool, expected text; quote it: "ON"'),
        ("a: [{1: 2}]", 'line 1: key 1 is read as int, expected text; quote it: "1"'),
        ("~: 1", "line 1: key ~ is read as null"),
        ("2024-01-02: 1", "line 1: key 2024-01-02 is read as timestamp"),
        ("? [a, b]\n: 1", "line 1: a section or list as a key"),
        ("a: 1\n---\nb: 1", "not readable as YAML: expected a single document"),
        ("a: 2024-13-01", "not readable as YAML: month must be in 1..12"),
        ("a: " + "9" * 5000, "not readable as YAML: Exceeds the limit"),
        ("a: [\nb", "not readable as YAML: while parsing"),
        (b"a: \xff", "not readable as YAML: 'utf-8' codec can't decode"),
        ("a: \x1b[2J", "not readable as YAML: unacceptable character #x001b"),
    ],
)
def test_what_is_not_plain_is_one_line(text, message):
    with pytest.raises(NotPlainYaml) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_sections_may_be_as_deep_as_the_limit_and_no_deeper():
    value = parse(b"[" * MOST_NESTED + b"]" * MOST_NESTED)
    for _ in range(MOST_NESTED - 1):
        (value,) = value
    assert value == []
    for deep in (b"[" * 1_000_000, b"{a: " * 1_000_000, b"- " * 1_000_000):
        with pytest.raises(NotPlainYaml, match=r"line 1: sections 21 deep, expected at most 20"):
            parse(deep)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-05", 1e-05), ("-2E3", -2000.0), ("2.e1", 20.0), ("1.5e+3", 1500.0), ("+1e5", 1e5)]
)
def test_numbers_with_an_exponent_are_read_as_dvc_reads_and_writes_them(text, value):
    """In YAML 1.1 those without a point or a sign of the exponent are text."""
    assert parse(f"a: {text}\n".encode()) == {"a": value}
    assert parse_yaml(f"a: {text}\n", "x") == {"a": value}
    assert parse(f'a: "{text}"\n'.encode()) == {"a": text}


@pytest.mark.parametrize("text", ["b1e5", "1e", "e5", "1e5x", "12:30", "1_0e5", ".5e1", "1e5 x"])
def test_what_only_looks_like_one_stays_text(text):
    found = parse(f"a: {text}\n".encode())["a"]
    assert not isinstance(found, float)
