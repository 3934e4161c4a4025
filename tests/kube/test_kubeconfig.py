"""Kubeconfig files: what is read, and what is said when that is not possible."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from kubeedge.kube.kubeconfig import KubeconfigError, TokenFile, find, in_cluster, load
from kubeedge.pki.authority import Authority

CA = Authority.create("test-ca")


def document(user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    """Return a kubeconfig with one context."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


def write(folder: Path, content: Any) -> Path:
    """Write a kubeconfig and return its path."""
    path = folder / "kubeconfig"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def encoded(data: bytes) -> str:
    """Return data as kubeconfigs hold it."""
    return base64.b64encode(data).decode()


async def test_certificate_and_key_are_read_from_data(tmp_path: Path) -> None:
    pair = CA.issue_client("admin", ["system:masters"], 1)
    user = {"client-certificate-data": encoded(pair.certificate_pem), "client-key-data": encoded(pair.key_pem)}
    access = load(write(tmp_path, document(user, **{"certificate-authority-data": encoded(CA.certificate_pem)})))
    assert (access.host, access.port, access.prefix) == ("127.0.0.1", 6443, "")
    assert access.ca_pem == CA.certificate_pem
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_REQUIRED
    assert await access.credential.header() == ""


async def test_files_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(CA.certificate_pem)
    (tmp_path / "token").write_text("secret-token\n")
    path = write(tmp_path, document({"tokenFile": "token", "token": "old"}, **{"certificate-authority": "ca.crt"}))
    access = load(path)
    assert access.ca_pem == CA.certificate_pem
    assert await access.credential.header() == "Bearer secret-token"


async def test_tokens_and_passwords_become_headers(tmp_path: Path) -> None:
    assert await load(write(tmp_path, document({"token": "abc"}))).credential.header() == "Bearer abc"
    access = load(write(tmp_path, document({"username": "u", "password": "p"})))
    assert await access.credential.header() == "Basic dTpw"


async def test_a_token_file_is_read_again_after_a_minute(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "token"
    path.write_text("one")
    credential = TokenFile(path, clock=lambda: now)
    path.write_text("two")
    now = 59.0
    assert await credential.header() == "Bearer one"
    now = 60.0
    assert await credential.header() == "Bearer two"


def test_tls_options_of_the_cluster_are_taken(tmp_path: Path) -> None:
    access = load(write(tmp_path, document({}, **{"insecure-skip-tls-verify": True, "tls-server-name": "kubernetes"})))
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_NONE
    assert access.server_name == "kubernetes"


def test_master_beats_the_server_of_the_kubeconfig(tmp_path: Path) -> None:
    path = write(tmp_path, document({}))
    access = find(str(path), "http://127.0.0.1:8080/base/")
    assert (access.port, access.prefix, access.tls) == (8080, "/base", None)
    assert find("", "127.0.0.1").port == 443


async def test_in_cluster_takes_the_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "ca.crt").write_bytes(CA.certificate_pem)
    (tmp_path / "token").write_text("abc")
    access = in_cluster(tmp_path)
    assert (access.host, access.port) == ("fd00::1", 443)
    assert await access.credential.header() == "Bearer abc"
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(KubeconfigError, match="KUBERNETES_SERVICE_HOST"):
        find()


async def test_an_exec_plugin_is_run_by_the_official_client(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin.write_text(f"#!/bin/sh\necho '{orjson.dumps(credential).decode()}'\n")
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    access = load(write(tmp_path, document(user)))
    assert await access.credential.header() == "Bearer from-plugin"


async def test_a_plugin_that_fails_is_named_when_it_is_needed(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nonexistent/plugin"}}
    access = load(write(tmp_path, document(user)))
    with pytest.raises(KubeconfigError, match="plugin gave no token"):
        await access.credential.header()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: [", "no YAML"),
        ("- a", "is no kubeconfig"),
        ("{}", "current-context is not set"),
        ({**document({}), "current-context": "x"}, "contexts has no context 'x'"),
        ({**document({}), "clusters": []}, "clusters has no cluster 'k'"),
        ({**document({}), "users": None}, "users has no user 'u'"),
        (document({}, server=""), "has no server"),
        (document({}, server="ftp://x"), "is no http or https URL"),
        (document({}, server="https://x:99999"), "server https://x:99999"),
        (document({}, **{"proxy-url": "http://p"}), "proxy-url"),
        (document({}, **{"certificate-authority-data": "%%"}), "certificate-authority-data"),
        (document({}, **{"certificate-authority-data": encoded(b"no pem")}), "certificate"),
        (document({}, **{"certificate-authority": "missing.crt"}), "missing.crt: certificate-authority"),
        (document({"client-certificate-data": encoded(CA.certificate_pem)}), "must be given together"),
        (document({"client-certificate-data": encoded(b"x"), "client-key-data": encoded(b"y")}), "certificate"),
        (document({"tokenFile": "missing"}), "missing: token file"),
        (document({"token": "a\r\nX-Evil: b"}), "characters"),
    ],
)
def test_an_unusable_kubeconfig_is_refused_with_file_and_reason(tmp_path: Path, content: Any, reason: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(KubeconfigError) as caught:
        load(path)
    assert reason in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="kubeconfig: No such file or directory"):
        load(tmp_path / "none")
    with pytest.raises(KubeconfigError, match="Is a directory"):
        load(tmp_path)
