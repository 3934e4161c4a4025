"""The 24 recorded pods through the embedded API, cloudcore and edgecore, on both runtimes.

Judge is what upstream's node reported and asked of containerd (golden/edged). Both runtimes play at the same time,
about 40 s, and do all that the tests look at; they only read.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from kubeedge.kube.instants import unix_time
from tests.e2e.cri_requests import UPSTREAM_ADDRESS, UPSTREAM_PLACES, Requests, recorded
from tests.e2e.expectations import NO_REGISTRY, REFUSED, REST, process_pods
from tests.e2e.recorded_node import NEW_LABEL, Run
from tests.e2e.recording import DELETED_AT_S, ageless, contradictions, pod_names, reports

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

both = pytest.mark.parametrize("runtime", ["process", "containerd"])
process_only = pytest.mark.parametrize("runtime", ["process"])
containerd_only = pytest.mark.parametrize("runtime", ["containerd"])
every_pod = pytest.mark.parametrize(
    ("runtime", "pod"),
    [("process", pod) for pod in process_pods()] + [("containerd", pod) for pod in pod_names()],
)

# What must be told of each pod beside its status; upstream tells nothing.
EVENTS = {
    "p-plain": [("Normal", "Started")],
    "p-noimage": [("Warning", "Failed")],
    "p-neverpull": [("Warning", "Failed")],
    "p-badcmd": [("Warning", "Failed"), ("Warning", "BackOff")],
    "p-noenv": [("Warning", "Failed"), ("Normal", "Started")],
    "p-novol": [("Warning", "FailedMount"), ("Normal", "Started")],
    "p-root": [("Warning", "Failed")],
    "p-crash": [("Normal", "Created"), ("Normal", "Started"), ("Warning", "BackOff")],
    "p-live": [("Warning", "Unhealthy"), ("Normal", "Killing")],
    "p-startfail": [("Warning", "Unhealthy"), ("Normal", "Killing"), ("Warning", "BackOff")],
    "p-http": [("Warning", "Unhealthy"), ("Normal", "Started")],
    "p-poststart": [("Warning", "FailedPostStartHook"), ("Normal", "Killing"), ("Warning", "BackOff")],
    "p-deadline": [("Normal", "DeadlineExceeded"), ("Normal", "Killing")],
}


def shown(states: Any) -> str:
    return json.dumps(states, indent=1)


@cache
def upstream() -> Requests:
    return Requests(recorded(), UPSTREAM_PLACES, UPSTREAM_ADDRESS)


@every_pod
def test_pod_goes_through_the_recorded_states(run: Run, pod: str) -> None:
    seen = [report.essence for report in run.reports[pod]]
    assert pod not in run.missing, f"never seen: {shown(run.missing[pod])}\namong {shown(seen)}"


@every_pod
def test_nothing_is_reported_that_contradicts_the_recording(run: Run, pod: str) -> None:
    if pod not in NO_REGISTRY and pod != "p-net" + REST:
        assert contradictions(run.expected.recorded[pod], run.reports[pod]) == []


@every_pod
def test_deleted_pod_ends_as_recorded(run: Run, pod: str) -> None:
    assert run.reports[pod][-1].event == "DELETED"
    assert ageless(run.reports[pod][-1].essence) == run.expected.last_words[pod]


@every_pod
def test_deleted_pod_gets_the_recorded_grace(run: Run, pod: str) -> None:
    original = run.expected.recorded[pod]
    graces = [r.metadata.get("deletionGracePeriodSeconds") for r in run.reports[pod] if r.t >= run.marks["deleted"]]
    first = next(grace for grace in graces if grace is not None)
    lines = [r for r in reports(original, 2) if r.t > DELETED_AT_S]
    assert first == recorded_grace(original)
    assert graces[-1] == 0
    assert lines[-1].event == "DELETED"


def recorded_grace(pod: str) -> int:
    deleted = next(r.metadata for r in reports(pod, 2) if "deletionTimestamp" in r.metadata)
    return int(deleted["deletionGracePeriodSeconds"])


@both
def test_container_that_ignores_term_has_all_of_its_grace(run: Run) -> None:
    assert run.reports["p-deaf"][-1].t - run.marks["deleted"] >= 3


@both
def test_init_containers_run_one_after_the_other(run: Run) -> None:
    status = next(r for r in run.reports["p-init"] if r.status["phase"] == "Running").status
    times = {}
    for container in (*status["initContainerStatuses"], *status["containerStatuses"]):
        ((_, state),) = container["state"].items()
        times[container["name"]] = (unix_time(state["startedAt"], 0.0), unix_time(state.get("finishedAt"), 0.0))
    assert times["i1"][1] <= times["side"][0] <= times["i2"][0] <= times["i2"][1] <= times["main"][0]


@every_pod
def test_what_is_wrong_with_a_pod_is_told_as_events(run: Run, pod: str) -> None:
    told = {(event["type"], event["reason"]) for event in run.events.get(pod, [])}
    assert set(EVENTS.get(run.expected.recorded[pod], ())) <= told


@both
def test_pods_without_their_config_map_start_when_it_comes(run: Run) -> None:
    for pod in ("p-noenv", "p-novol"):
        before = run.between("applied", "config map made", pod)
        assert {r.essence["phase"] for r in before} == {"Pending"}
        assert all(not c["has id"] for r in before for c in r.essence["containers"].values())
    (failed,) = (e for e in run.events["p-novol"] if e["reason"] == "FailedMount")
    assert failed["message"] == 'MountVolume.SetUp failed for volume "v" : configmap "nothere" not found'


@both
def test_container_sees_its_volumes(run: Run) -> None:
    files = run.before.files
    assert files == {
        "e/post": ("post\n", "0o644"),
        "c/a": ("one", "0o600"),
        "c/dir/b": ("two", "0o444"),
        "one/a": ("one", "0o600"),
        "s/user": ("u", "0o644"),
        "s/pass": ("p", "0o644"),
        "d/labels": ('app="plain"\ntier="x"', "0o644"),
        "d/cpu": ("1", "0o644"),
        "p/a": ("one", "0o644"),
        "p/b": ("two", "0o644"),
        "p/script.sh": ("echo hi", "0o644"),
        "p/who": ("u", "0o644"),
    }


@both
def test_container_sees_the_recorded_environment(run: Run) -> None:
    wanted = upstream().containers()[("p-plain", "main")]["envs"]
    status = run.pods[run.expected.plain]["status"]
    places = {"UID": run.pods[run.expected.plain]["metadata"]["uid"], "NODE ADDRESS": "127.0.0.1"}
    places["POD ADDRESS"] = status["podIP"]
    wanted = {name: places.get(value, value) for name, value in wanted.items()}
    assert {name: run.before.environment.get(name) for name in wanted} == wanted


@both
def test_changed_config_map_and_label_are_seen_without_a_restart(run: Run) -> None:
    before, after = run.before, run.after
    changed = {path: text for path, (text, _) in after.files.items() if before.files[path][0] != text}
    labels = f'app="{NEW_LABEL}"\ntier="x"'
    assert changed == {"c/a": "ONE", "c/dir/b": "TWO", "p/a": "ONE", "p/b": "TWO", "d/labels": labels}
    # A subPath mount and the environment stay as they were when the container started.
    assert after.files["one/a"][0] == "one"
    assert (after.pid, after.environment) == (before.pid, before.environment)
    plain = run.expected.plain
    *_, unchanged = run.between("applied", "changed", plain)
    assert all(r.essence == unchanged.essence for r in run.between("changed", "deleted", plain))


@both
def test_container_killed_from_outside_is_restarted_as_recorded(run: Run) -> None:
    (wanted,) = (r.essence for r in reports("p-guaranteed", 2) if 4 < r.t < DELETED_AT_S)
    seen = [report.essence for report in run.between("killed", "deleted", "p-guaranteed")]
    assert seen[-1] == wanted


@both
def test_deleted_pods_leave_nothing_on_the_machine(run: Run) -> None:
    assert run.left == []


@process_only
@pytest.mark.parametrize("pod", REFUSED)
def test_process_refuses_visibly_what_it_cannot_do(run: Run, pod: str) -> None:
    status = next(r.status for r in run.reports[pod] if r.status["phase"] != "Pending")
    assert (status["phase"], status["reason"]) == ("Failed", "UnsupportedByRuntime")
    assert status["message"] == f"Pod was rejected: {REFUSED[pod]}"
    assert [(e["type"], e["reason"], e["message"]) for e in run.events[pod]] == [
        ("Warning", "UnsupportedByRuntime", REFUSED[pod])
    ]


@containerd_only
@pytest.mark.parametrize("pod", pod_names())
def test_sandbox_is_asked_for_as_recorded(run: Run, pod: str) -> None:
    assert run.requests is not None
    assert run.requests.sandboxes()[pod] == upstream().sandboxes()[pod]


@containerd_only
@pytest.mark.parametrize("pod", pod_names())
def test_containers_are_asked_for_as_recorded(run: Run, pod: str) -> None:
    assert run.requests is not None
    ours = {name: config for (owner, name), config in run.requests.containers().items() if owner == pod}
    wanted = {name: config for (owner, name), config in upstream().containers().items() if owner == pod}
    if pod == "p-noenv":
        # Upstream never comes to it.
        assert ours.keys() == {"main"}
    else:
        assert ours == wanted


@containerd_only
def test_every_container_is_asked_for_with_the_configuration_of_its_sandbox(run: Run) -> None:
    assert run.requests is not None
    assert run.requests.sandbox_configs_differ() == []
