"""What names of objects, labels and values may look like, with the words of a real server about what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Check = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_HTTP_HEADER = "[-A-Za-z0-9]+"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_ENV_PRINTABLE = re.compile(r"[\x20-\x3c\x3e-\x7e]+")

_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character"
)
_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character"
)
_LABEL_1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character"
)
_QUALIFIED_WORDS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character"
)
_CONFIG_KEY_WORDS = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_C_IDENTIFIER_WORDS = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    "or '_'"
)
_HTTP_HEADER_WORDS = "a valid HTTP header must consist of alphanumeric characters or '-'"
_ENV_WORDS = "a valid environment variable name must consist only of printable ASCII characters other than '='"
_WILDCARD_WORDS = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)


def too_long(limit: int) -> str:
    """What is said about a name of more than limit bytes."""
    return f"must be no more than {limit} bytes"


def _regex_error(words: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{words} (e.g. {shown}regex used for validation is '{pattern}')"


def _rule(pattern: str, words: str, limit: int, *examples: str) -> Check:
    compiled = re.compile(pattern, re.ASCII)
    message = _regex_error(words, pattern, *examples)

    @lru_cache(maxsize=4096)
    def check(value: str) -> tuple[str, ...]:
        problems = []
        if limit and len(value) > limit:
            problems.append(too_long(limit))
        if not compiled.fullmatch(value):
            problems.append(message)
        return tuple(problems)

    return lambda value: list(check(value))


dns_label = _rule(_LABEL, _LABEL_WORDS, 63, "my-name", "123-abc")
dns_subdomain = _rule(_SUBDOMAIN, _SUBDOMAIN_WORDS, 253, "example.com")
dns_1035_label = _rule(_LABEL_1035, _LABEL_1035_WORDS, 63, "my-name", "abc-123")
label_value = _rule(_LABEL_VALUE, _LABEL_VALUE_WORDS, 63, "MyValue", "my_value", "12345")
c_identifier = _rule(_C_IDENTIFIER, _C_IDENTIFIER_WORDS, 0, "my_name", "MY_NAME", "MyName")
http_header_name = _rule(_HTTP_HEADER, _HTTP_HEADER_WORDS, 0, "X-Header-Name")
wildcard_subdomain = _rule(_WILDCARD, _WILDCARD_WORDS, 253, "*.example.com")
_qualified_part = _rule(_QUALIFIED, _QUALIFIED_WORDS, 63, "MyName", "my.name", "123-abc")
_config_key = _rule(_CONFIG_KEY, _CONFIG_KEY_WORDS, 253, "key.name", "KEY_NAME", "key-name")


def qualified_name(value: str) -> list[str]:
    """A label or annotation key: `name` or `prefix.example.com/name`."""
    problems: list[str] = []
    parts = value.split("/")
    if len(parts) == 1:
        name = parts[0]
    elif len(parts) == 2:
        prefix, name = parts
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {problem}" for problem in dns_subdomain(prefix)]
    else:
        return [
            "a qualified name "
            + _regex_error(_QUALIFIED_WORDS, _QUALIFIED, "MyName", "my.name", "123-abc")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if not name:
        problems.append("name part must be non-empty")
        problems.append("name part " + _regex_error(_QUALIFIED_WORDS, _QUALIFIED, "MyName", "my.name", "123-abc"))
        return problems
    return problems + [f"name part {problem}" for problem in _qualified_part(name)]


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: a file name that isn't hidden in a parent."""
    problems = _config_key(value)
    if value == ".":
        problems.append("must not be '.'")
    elif value == "..":
        problems.append("must not be '..'")
    elif value.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def env_name(value: str) -> list[str]:
    """The name of an environment variable."""
    return [] if _ENV_PRINTABLE.fullmatch(value) else [_ENV_WORDS]


def port_name(value: str) -> list[str]:
    """The name of a container's port (an IANA service name)."""
    problems = []
    if len(value) > 15:
        problems.append("must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def path_segment(value: str) -> list[str]:
    """The name of an RBAC object: anything that can stand in a URL path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in ("/", "%") if char in value]
