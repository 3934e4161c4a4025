"""Changes in a file that a person wrote: one value, and nothing else (spec 02 §1.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubeedge import KUBEEDGE_VERSION
from kubeedge.config import edgecore
from kubeedge.config.edgecore import EdgeCore
from kubeedge.config.errors import ConfigError
from kubeedge.config.join import forget_token, join_token, record_version
from kubeedge.config.rewrite import replaced, set_value

TOKEN = "modules.edgeHub.token"
ANY = Path("edgecore.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "# mine\nmodules:\n  edgeHub:\n    token: abc.def # the token\n    heartbeat: 15\n",
            '# mine\nmodules:\n  edgeHub:\n    token: "" # the token\n    heartbeat: 15\n',
        ),
        ('modules: {edgeHub: {token: "abc", x: 1}}', 'modules: {edgeHub: {token: "", x: 1}}'),
        ("modules:\n  EDGEHUB:\n    Token: 'abc'\n", 'modules:\n  EDGEHUB:\n    Token: ""\n'),
        (
            "modules:\n  edgeHub:\n    token: >-\n      abc\n      def\n    heartbeat: 15\n",
            'modules:\n  edgeHub:\n    token: ""\n    heartbeat: 15\n',
        ),
    ],
)
def test_value_is_changed_and_all_else_stays(text: str, expected: str) -> None:
    changed = replaced(ANY, text, TOKEN, "")
    assert yaml.safe_load(changed) == yaml.safe_load(expected)
    if ">-" not in text:
        assert changed == expected


def test_value_that_stands_there_already_changes_nothing() -> None:
    text = "modules: {edgeHub: {token: ''}}\n"
    assert replaced(ANY, text, TOKEN, "") == text


def test_missing_key_at_the_top_is_added_below() -> None:
    text = "# mine\nmodules:\n  edgeHub: {}"
    assert replaced(ANY, text, "edgecoreVersion", "v1") == f"{text}\nedgecoreVersion: v1\n"
    assert replaced(ANY, "", "edgecoreVersion", "v1") == "edgecoreVersion: v1\n"


def test_empty_value_is_filled() -> None:
    assert yaml.safe_load(replaced(ANY, "edgecoreVersion:\nkind: EdgeCore\n", "edgecoreVersion", "v1")) == {
        "edgecoreVersion": "v1",
        "kind": "EdgeCore",
    }


@pytest.mark.parametrize(
    "text",
    [
        "modules: {}\n",
        "{}\n",
        "a: &x abc\nmodules: {edgeHub: {token: *x}}\n",
        "modules:\n  edgeHub: &h {token: abc}\n  other: *h\n",
        "modules: null\n",
        "modules:\n  edgeHub:\n    token: [1]\n",
    ],
)
def test_file_that_cannot_be_changed_in_place_is_printed_anew(text: str) -> None:
    before = yaml.safe_load(text)
    after = yaml.safe_load(replaced(ANY, text, TOKEN, "t"))
    assert after["modules"]["edgeHub"]["token"] == "t"
    after["modules"].get("edgeHub", {}).pop("token")
    assert after.get("a") == before.get("a")


_keys = st.text("abcAB", min_size=1, max_size=3)
_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab: #\n'\"é", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_keys, _documents, max_size=4), st.text(max_size=8), st.booleans())
def test_only_that_value_changes_in_any_document(document: dict[str, Any], value: str, flow: bool) -> None:
    document = {key.lower(): item for key, item in document.items()}
    text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True)
    changed = yaml.safe_load(replaced(ANY, text, "zebra", value))
    assert changed == {**document, "zebra": value}
    again = yaml.safe_load(replaced(ANY, replaced(ANY, text, "zebra", "first"), "zebra", value))
    assert again == {**document, "zebra": value}


def test_mode_of_the_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.yaml"
    path.write_text("edgecoreVersion: old\n")
    path.chmod(0o604)
    assert set_value(path, "edgecoreVersion", "new") is True
    assert path.read_text() == "edgecoreVersion: new\n"
    assert path.stat().st_mode & 0o7777 == 0o604
    assert set_value(path, "edgecoreVersion", "new") is False


def test_file_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "edgecore.yaml"
    path.write_text("edgecoreVersion: old\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr("kubeedge.config.rewrite.replace", refuse)
    with pytest.raises(ConfigError, match="edgecoreVersion: cannot be written"):
        set_value(path, "edgecoreVersion", "new")
    with pytest.raises(ConfigError, match="does not exist"):
        set_value(tmp_path / "absent.yaml", "edgecoreVersion", "new")


def configuration(tmp_path: Path, text: str) -> tuple[Path, EdgeCore]:
    path = tmp_path / "edgecore.yaml"
    path.write_text(f"{text}\ndatabase: {{dataSource: {tmp_path}/e.db}}\n")
    return path, edgecore.load(path)[0]


def test_version_that_runs_is_written_once(tmp_path: Path) -> None:
    path, config = configuration(tmp_path, "edgecoreVersion: v1.0.0")
    assert record_version(path, config) is True
    assert edgecore.load(path)[0].edgecore_version == KUBEEDGE_VERSION
    assert record_version(path, edgecore.load(path)[0]) is False


def test_token_is_emptied_and_nothing_happens_where_none_stood(tmp_path: Path) -> None:
    path, config = configuration(tmp_path, "modules: {edgeHub: {token: abc}}")
    assert forget_token(path, config) is True
    assert edgecore.load(path)[0].modules.edge_hub.token == ""
    before = path.stat().st_mtime_ns
    assert forget_token(path, edgecore.load(path)[0]) is False
    assert path.stat().st_mtime_ns == before


def test_bootstrap_file_wins_over_the_key(tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap"
    _, config = configuration(tmp_path, f"modules: {{edgeHub: {{token: from-key, bootstrapFile: {bootstrap}}}}}")
    assert join_token(config) == "from-key"
    bootstrap.write_text("  from-file\n")
    assert join_token(config) == "from-file"
    bootstrap.unlink()
    bootstrap.mkdir()
    assert join_token(config) == "from-key"
