"""Templates, their hashes, and the numbers of the history."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver.controllers import revisions
from kubeedge.apiserver.controllers.revisions import DESIRED, HASH_LABEL, HISTORY, MAXIMUM, REVISION
from tests.apiserver.controllers.builders import deployment, replica_set

names = st.text("abcdefgh", min_size=1, max_size=4)
values = st.recursive(
    st.none() | st.integers(-5, 5) | names,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
)
templates = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"labels": st.dictionaries(names, names, max_size=2)}),
        "spec": st.dictionaries(names, values, max_size=3),
    }
)


@given(templates)
def test_hash_has_safe_letters_and_does_not_depend_on_itself(template: dict[str, object]) -> None:
    hash_ = revisions.template_hash(template, None)
    assert re.fullmatch("[456789bcdf]{1,10}", hash_)
    hashed = revisions.with_hash(template, hash_)
    assert hashed["metadata"]["labels"][HASH_LABEL] == hash_
    assert revisions.template_hash(hashed, None) == hash_
    assert revisions.same_template(hashed, template)


@given(templates, templates)
def test_same_templates_have_the_same_hash(one: dict[str, object], other: dict[str, object]) -> None:
    if revisions.same_template(one, other):
        assert revisions.template_hash(one, 1) == revisions.template_hash(other, 1)


def test_collision_count_gives_another_hash() -> None:
    template = {"spec": {"containers": [{"name": "c"}]}}
    assert len({revisions.template_hash(template, count) for count in (None, 1, 2)}) == 3


def test_nulls_and_empty_lists_make_no_difference_but_an_empty_volume_does() -> None:
    assert revisions.same_template({"spec": {"a": 1, "b": None, "c": []}}, {"spec": {"a": 1}})
    assert revisions.same_template({"metadata": {"labels": {HASH_LABEL: "x"}}}, {"metadata": {}})
    with_volume = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    assert not revisions.same_template(with_volume, {"spec": {"volumes": [{"name": "v"}]}})


def test_new_set_is_the_oldest_with_the_template() -> None:
    template: dict[str, object] = {"spec": {"x": "1"}}
    wanted = deployment(template=template)
    younger = replica_set("younger", 0, created=2, template=template)
    older = replica_set("older", 0, created=1, template=template)
    assert revisions.find_new(wanted, [younger, replica_set("other", 1), older]) is older
    assert revisions.find_new(wanted, []) is None


def test_revision_of_a_returning_set_is_kept_in_its_history() -> None:
    wanted = deployment()
    wanted.metadata.annotations = {"team": "x", REVISION: "3", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    assert revisions.annotations_for(wanted, {}, 1) == {"team": "x", REVISION: "1"}
    returned = revisions.annotations_for(wanted, {REVISION: "1", "team": "x"}, 4)
    assert returned == {REVISION: "4", HISTORY: "1"}
    again = revisions.annotations_for(wanted, {REVISION: "4", HISTORY: "1", "team": "x"}, 6)
    assert again == {REVISION: "6", HISTORY: "1,4"}
    assert revisions.annotations_for(wanted, {REVISION: "6", "team": "x"}, 6) == {}


def test_history_does_not_grow_without_end() -> None:
    present = {REVISION: "999", HISTORY: ",".join(["123"] * 1000)}
    assert len(revisions.annotations_for(deployment(), present, 1000)[HISTORY]) <= revisions.MAX_HISTORY_LENGTH


def test_next_revision_is_above_all_others() -> None:
    assert revisions.next_revision([]) == 1
    olds = [replica_set(str(number), 0, annotations={REVISION: str(number)}) for number in (2, 7)]
    assert revisions.next_revision(olds) == 8
    assert revisions.revision({REVISION: "nonsense"}) == 0


def test_only_empty_sets_beyond_the_limit_are_obsolete() -> None:
    wanted = deployment()
    olds = [replica_set(f"r{number}", number == 2, annotations={REVISION: str(number)}) for number in (1, 2, 3, 4)]
    wanted.spec.revision_history_limit = 1
    assert [old.metadata.name for old in revisions.obsolete(wanted, olds)] == ["r1", "r3"]
    wanted.spec.revision_history_limit = None
    assert revisions.obsolete(wanted, olds) == []


def test_sizes_are_written_as_text() -> None:
    assert revisions.sizes(3, 4) == {DESIRED: "3", MAXIMUM: "4"}
