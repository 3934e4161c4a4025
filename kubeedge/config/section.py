"""Sections of a configuration: structs decoded over their defaults, with every problem named by its path."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from kubeedge.config.duration import Duration
from kubeedge.config.errors import Problem

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
UInt8 = Annotated[int, msgspec.Meta(ge=0, le=255)]

S = TypeVar("S", bound="Section")


class Section(msgspec.Struct, kw_only=True, rename="camel"):
    """One mapping of the file. Attributes are the snake case of its keys.

    `printed_when_empty` names the attributes that are printed although they hold an empty default (`token: ""`);
    other keys are left out while their value and their default are both empty, as the Go side does.
    """

    printed_when_empty: ClassVar[frozenset[str]] = frozenset({"enable"})


def decode(section: S, document: object) -> tuple[S, list[Problem], list[Problem]]:
    """Lay document over the defaults in section: absent keys keep theirs, mappings merge, lists replace.

    Keys match whatever their case (spec 02 §2.1). Returns the section, the errors and the warnings (unknown keys).
    """
    decoder = _Decoder()
    result = decoder.section(section, document, "")
    return result, decoder.errors, decoder.warnings


def encode(section: Section) -> dict[str, Any]:
    """Turn section into the mapping that is printed: keys sorted, empty defaults left out."""
    document: dict[str, Any] = {}
    for field in fields(section):
        value = getattr(section, field.name)
        if _is_empty(value) and field.name not in section.printed_when_empty and value == _default(field):
            continue
        document[field.encode_name] = _encode_value(value)
    return dict(sorted(document.items()))


def _encode_value(value: Any) -> Any:
    if isinstance(value, Section):
        return encode(value)
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, list):
        return [_encode_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode_value(value[key]) for key in sorted(value)}
    return value


def _is_empty(value: Any) -> bool:
    return not isinstance(value, Duration | Section) and not value


def _default(field: FieldInfo) -> Any:
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


class _Decoder:
    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def section(self, base: S, document: object, path: str) -> S:
        if not isinstance(document, dict):
            self.errors.append(Problem(path, f"must be a mapping, is {_name_of(document)}"))
            return base
        known = {field.encode_name.lower(): field for field in fields(base)}
        changes: dict[str, Any] = {}
        for key, value in document.items():
            field = known.get(str(key).lower())
            if field is None:
                self.warnings.append(Problem(_join(path, str(key)), "unknown key, ignored"))
                continue
            if field.name in changes:
                self.warnings.append(Problem(_join(path, str(key)), "given twice, the last one counts"))
            changes[field.name] = self.value(
                field.type, getattr(base, field.name), value, _join(path, field.encode_name)
            )
        return msgspec.structs.replace(base, **changes)

    def value(self, type_: Any, base: Any, value: object, path: str) -> Any:
        """Decode one value; where it is wrong, note that and go on with base so that all problems are found."""
        if isinstance(base, Section):
            return self.section(base, value, path)
        if value is None:
            # As in Go: null empties what can be empty and leaves the rest as it is.
            return None if type(None) in get_args(type_) else [] if isinstance(base, list) else base
        type_ = _without_none(type_)
        if get_origin(type_) is list:
            return self.list(get_args(type_)[0], base, value, path)
        if get_origin(type_) is dict:
            return self.mapping(get_args(type_)[1], base, value, path)
        if isinstance(type_, type) and issubclass(type_, Section):
            return self.section(type_(), value, path)
        try:
            return msgspec.convert(_as_text(value) if type_ is str else value, type_, dec_hook=_decode_duration)
        except (msgspec.ValidationError, ValueError) as error:
            self.errors.append(Problem(path, _reason(error)))
            return base

    def list(self, item: Any, base: Any, value: object, path: str) -> Any:
        if not isinstance(value, list):
            self.errors.append(Problem(path, f"must be a list, is {_name_of(value)}"))
            return base
        return [self.value(item, None, element, f"{path}[{index}]") for index, element in enumerate(value)]

    def mapping(self, item: Any, base: Any, value: object, path: str) -> Any:
        if not isinstance(value, dict):
            self.errors.append(Problem(path, f"must be a mapping, is {_name_of(value)}"))
            return base
        merged = dict(base or {})
        for key, element in value.items():
            merged[str(key)] = self.value(item, merged.get(str(key)), element, _join(path, str(key)))
        return merged


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _without_none(type_: Any) -> Any:
    if get_origin(type_) is Annotated:
        return type_
    options = [option for option in get_args(type_) if option is not type(None)]
    return options[0] if len(options) == 1 and type(None) in get_args(type_) else type_


def _as_text(value: object) -> object:
    """Upstream's YAML reader gives the text of a scalar where a string is wanted (`token: 123`)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _decode_duration(type_: type, value: object) -> Duration:
    if not isinstance(value, str):
        raise ValueError(f"must be a duration such as 10s or 1m30s, is {_name_of(value)}")
    return Duration.parse(value)


_NAMES = {dict: "a mapping", list: "a list", str: "a string", bool: "a boolean", int: "an integer", float: "a number"}


def _name_of(value: object) -> str:
    return "empty" if value is None else _NAMES.get(type(value), type(value).__name__)


_EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]+)`(?P<limit> [<>]=? [-\d]+)?(?:, got `(?P<got>\w+)`)?")
_WANTED = {"int": "an integer", "str": "a string", "bool": "a boolean (true or false)", "float": "a number"}
_GOT = {"int": "an integer", "str": "a string", "bool": "a boolean", "float": "a number", "array": "a list"}


def _reason(error: Exception) -> str:
    match = _EXPECTED.match(str(error))
    if match is None:
        return str(error)
    reason = f"must be {_WANTED.get(match['wanted'], match['wanted'])}{match['limit'] or ''}"
    return f"{reason}, is {_GOT.get(match['got'], 'a mapping')}" if match["got"] else reason
