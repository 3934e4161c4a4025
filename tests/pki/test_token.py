"""The join token: made as a Go cloudcore makes it, and accepted only as it should be (spec 02 §1.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.pki import token
from kubeedge.pki.token import TokenError

CA, KEY = b"the CA's DER", b"the key's DER"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> list[bytes | str]:
    parts: list[bytes | str] = []
    for part in text.split("."):
        try:
            parts.append(base64.urlsafe_b64decode(part + "=="))
        except binascii.Error:
            parts.append(part)
    return parts


def jwt(header: dict[str, Any], claims: Any, key: bytes = KEY, digest: str = "sha256") -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(hmac.digest(key, signed.encode(), digest))}"


def test_token_is_the_hash_of_the_ca_and_a_jwt() -> None:
    made = token.make(CA, KEY, 24 * 3600, now=1_000)
    digest, header, claims, signature = made.split(".")
    assert digest == hashlib.sha256(CA).hexdigest()
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","typ":"JWT"}'
    assert json.loads(base64.urlsafe_b64decode(claims + "==")) == {"exp": 1_000 + 24 * 3600}
    expected = hmac.digest(KEY, f"{header}.{claims}".encode(), "sha256")
    assert base64.urlsafe_b64decode(signature + "==") == expected


def test_token_is_good_until_its_end_and_not_a_second_longer() -> None:
    bearer = token.bearer_of(token.make(CA, KEY, 60, now=1_000), CA)
    token.verify(bearer, KEY, now=1_059.9)
    with pytest.raises(TokenError, match="token has invalid claims: token is expired"):
        token.verify(bearer, KEY, now=1_060)


@pytest.mark.parametrize(("algorithm", "digest"), [("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")])
def test_every_hmac_method_is_accepted(algorithm: str, digest: str) -> None:
    token.verify(jwt({"alg": algorithm}, {"exp": 2_000}, digest=digest), KEY, now=1_000)


def test_token_without_an_end_never_ends() -> None:
    token.verify(jwt({"alg": "HS256"}, {}), KEY, now=1e12)
    token.verify(jwt({"alg": "HS256"}, {"exp": None, "other": 1}), KEY, now=1e12)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bad", "token is malformed: token contains an invalid number of segments"),
        ("", "token is malformed: token contains an invalid number of segments"),
        ("a.b.c.d", "token is malformed: token contains an invalid number of segments"),
        ("!.e30.x", "token is malformed: could not base64 decode header"),
        ("é.e30.x", "token is malformed: could not base64 decode header"),
        ("e30=.e30.x", "token is malformed: could not base64 decode header"),
        ("bm8.e30.x", "token is malformed: could not JSON decode header"),
        ("W10.e30.x", "token is malformed: could not JSON decode header"),
        ("e30.bm8.x", "token is malformed: could not JSON decode claim"),
        ("e30.e30.x", "token is unverifiable: signing method (alg) is unspecified"),
        (jwt({"alg": "none"}, {}), "token is unverifiable: error while executing keyfunc: invalid token method type"),
        (jwt({"alg": "RS256"}, {}), "token is unverifiable: error while executing keyfunc: invalid token method type"),
        (jwt({"alg": "hs256"}, {}), "token is unverifiable: signing method (alg) is unavailable"),
        (jwt({"alg": 7}, {}), "token is unverifiable: signing method (alg) is unspecified"),
        (jwt({"alg": "HS256"}, {})[:-1] + "!", "token is malformed: could not base64 decode signature"),
        (jwt({"alg": "HS256"}, {}, key=b"other"), "token signature is invalid: signature is invalid"),
        (jwt({"alg": "HS512"}, {}, digest="sha256"), "token signature is invalid: signature is invalid"),
        (jwt({"alg": "HS256"}, {"exp": 999}), "token has invalid claims: token is expired"),
        (jwt({"alg": "HS256"}, {"exp": 0}), "token has invalid claims: token is expired"),
        (jwt({"alg": "HS256"}, {"exp": "soon"}), "token has invalid claims: exp is invalid"),
        (jwt({"alg": "HS256"}, {"exp": True}), "token has invalid claims: exp is invalid"),
        (jwt({"alg": "HS256"}, {"nbf": 1_001}), "token has invalid claims: token is not valid yet"),
    ],
)
def test_wrong_token_is_refused_with_the_words_of_a_go_cloud(text: str, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        token.verify(text, KEY, now=1_000)
    assert str(caught.value) == reason


@given(st.text())
def test_no_text_is_accepted_or_breaks_the_check(text: str) -> None:
    for candidate in (text, f"{text}.e30.x", f"{b64(text.encode())}.{b64(text.encode())}.{b64(text.encode())}"):
        with pytest.raises(TokenError):
            token.verify(candidate, KEY)


@given(st.data())
def test_changed_token_is_refused(data: st.DataObject) -> None:
    bearer = token.bearer_of(token.make(CA, KEY, 60, now=1_000), CA)
    place = data.draw(st.integers(0, len(bearer) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."))
    changed = bearer[:place] + letter + bearer[place + 1 :]
    # The last letter of a part carries bits that stand for nothing: such a change may leave the token what it was.
    if decoded(changed) != decoded(bearer):
        with pytest.raises(TokenError):
            token.verify(changed, KEY, now=1_000)


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_join_token_has_four_parts(parts: int) -> None:
    with pytest.raises(TokenError, match=f"has {parts} parts"):
        token.bearer_of(".".join(["x"] * parts), CA)


def test_join_token_of_another_cloud_names_both_cas() -> None:
    made = token.make(CA, KEY, 60)
    with pytest.raises(TokenError) as caught:
        token.bearer_of(made, b"another CA")
    assert token.ca_hash(CA) in str(caught.value)
    assert token.ca_hash(b"another CA") in str(caught.value)
