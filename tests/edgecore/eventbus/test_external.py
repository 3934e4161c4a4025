"""The connection to a real mosquitto: what gets through, and what survives its faults."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from pathlib import Path

import pytest

from kubeedge.edgecore.eventbus import external as module
from kubeedge.edgecore.eventbus.address import Address, Tls
from kubeedge.edgecore.eventbus.external import ExternalBroker, client_id
from kubeedge.edgecore.eventbus.outbox import CONGESTED
from tests.cable import cable
from tests.link.certificates import TestAuthority
from tests.mosquitto import PASSWORD, USER, Mosquitto, TlsFiles, client, free_port, mosquitto
from tests.sites import until

from .conftest import external, running

TWIN = "$hw/events/device/+/+/twin/+"
UPDATE = "$hw/events/device/default/d1/twin/update"


async def connected(broker: ExternalBroker) -> None:
    await until(lambda: broker.is_connected)


async def test_publications_come_and_go(shared_broker: Mosquitto) -> None:
    broker = external(shared_broker.port, "both-ways")
    async with running(broker, TWIN) as taken, client(shared_broker) as tester:
        await tester.subscribe("answers/#")
        await connected(broker)
        tester.publish(UPDATE, b'{"a":1}')
        tester.publish(UPDATE, b"", quality=0)
        assert await taken.until(2) == [(UPDATE, b'{"a":1}'), (UPDATE, b"")]
        done: list[int] = []
        broker.publish("answers/ä", b"\0\xff", lambda: done.append(1))
        heard = await tester.next()
        assert (heard.topic, heard.payload, heard.quality, heard.is_retained) == ("answers/ä", b"\0\xff", 1, False)
        await until(lambda: done == [1])


async def test_large_publications_go_both_ways(shared_broker: Mosquitto) -> None:
    broker = external(shared_broker.port, "large")
    payload = bytes(range(256)) * 8_000
    async with running(broker, TWIN) as taken, client(shared_broker) as tester:
        await tester.subscribe("large/answer")
        await connected(broker)
        tester.publish(UPDATE, payload)
        assert await taken.until(1) == [(UPDATE, payload)]
        broker.publish("large/answer", payload)
        assert (await tester.next()).payload == payload


async def test_node_starts_without_a_broker_says_so_once_and_connects_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q28: upstream blocks, and with it all answers."""
    monkeypatch.setattr(module, "LONGEST_RETRY_S", 0.2)
    rig = Mosquitto(tmp_path / "late")
    broker = external(rig.port)
    failures = module.connect_failures.value()
    with caplog.at_level(logging.INFO):
        async with running(broker, TWIN) as taken:
            broker.publish("early", b"said before")
            await until(lambda: module.connect_failures.value() >= failures + 3)
            assert [record.levelname for record in caplog.records].count("WARNING") == 1
            assert "broker not connected" in caplog.text
            rig.start()
            try:
                async with client(rig) as tester:
                    await tester.subscribe("early")
                    await connected(broker)
                    tester.publish(UPDATE, b"x")
                    await taken.until(1)
            finally:
                rig.kill()


async def test_acknowledgement_to_the_broker_waits_until_the_receiver_is_done(shared_broker: Mosquitto) -> None:
    """What was handed over but not stored when edgecore dies comes again."""
    name = "dies-before-the-commit"
    async with client(shared_broker) as tester:
        broker = external(shared_broker.port, name)
        async with running(broker, TWIN) as taken:
            await connected(broker)
            taken.holds = True
            for number in range(3):
                tester.publish(UPDATE, b"%d" % number)
            await taken.until(3)
            taken.open[0]()
            await asyncio.sleep(0.2)
        async with running(external(shared_broker.port, name), TWIN) as again:
            assert await again.until(2) == [(UPDATE, b"1"), (UPDATE, b"2")]


async def test_publications_wait_at_the_broker_while_the_node_is_down(shared_broker: Mosquitto) -> None:
    name = "was-away"
    async with client(shared_broker) as tester:
        broker = external(shared_broker.port, name)
        async with running(broker, TWIN):
            await connected(broker)
        for number in range(50):
            tester.publish(UPDATE, b"%d" % number)
        await asyncio.sleep(0.2)
        async with running(external(shared_broker.port, name), TWIN) as taken:
            assert [payload for _, payload in await taken.until(50)] == [b"%d" % number for number in range(50)]


async def test_nothing_is_lost_in_either_direction_when_the_cable_is_cut_again_and_again(
    shared_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_RETRY_S", 0.2)
    count = 2_000
    async with cable(shared_broker.port) as link, client(shared_broker) as tester:
        broker = external(link.port, "cut-again-and-again")
        await tester.subscribe("cut/#")
        async with running(broker, "updates/+") as taken:
            await connected(broker)
            answered = 0

            def answer() -> None:
                nonlocal answered
                for _, payload in taken.publications[answered:]:
                    broker.publish("cut/answer", payload)
                answered = len(taken.publications)

            for number in range(count):
                tester.publish("updates/x", b"%d" % number)
                answer()
                if number % 20 == 0:
                    await asyncio.sleep(0.01)
                if number % 400 == 200:
                    await connected(broker)
                    link.cut()
            expected = {b"%d" % number for number in range(count)}
            await until(lambda: {payload for _, payload in taken.publications} == expected)
            answer()
            heard: set[bytes] = set()
            while heard != expected:
                heard.add((await tester.next()).payload)
        assert link.connections > 3


async def test_subscriptions_come_back_when_the_broker_has_forgotten_them(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as rig:
        broker = external(rig.port)
        filters = [TWIN]
        async with running(broker, live=lambda: filters) as taken:
            await connected(broker)
            filters.append("rule/topic")
            assert await broker.subscribe("rule/topic")
            rig.kill()
            await until(lambda: not broker.is_connected)
            rig.start()
            await connected(broker)
            async with client(rig) as tester:
                tester.publish("rule/topic", b"r")
                tester.publish(UPDATE, b"u")
                assert await taken.until(2) == [("rule/topic", b"r"), (UPDATE, b"u")]


async def test_unsubscription_that_the_broker_missed_is_made_up_for(shared_broker: Mosquitto) -> None:
    async with cable(shared_broker.port) as link, client(shared_broker) as tester:
        broker = external(link.port, "unsubscribes-offline")
        filters = ["rule/gone", "rule/kept"]
        async with running(broker, live=lambda: filters) as taken:
            await connected(broker)
            await link.unplug()
            await until(lambda: not broker.is_connected)
            filters.remove("rule/gone")
            await broker.unsubscribe("rule/gone")
            await link.plug_in()
            await connected(broker)
            tester.publish("rule/gone", b"1")
            tester.publish("rule/kept", b"2")
            assert await taken.until(1) == [("rule/kept", b"2")]


async def test_filter_that_the_broker_refuses_is_told_and_costs_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (plugin,) = Path("/usr/lib").glob("*/mosquitto_dynamic_security.so")
    allowed = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), True)
    role = {"rolename": "r", "acls": [{"acltype": "subscribeLiteral", "topic": "secret", "allow": False}]}
    rules = {
        "defaultACLAccess": allowed,
        "roles": [role],
        "groups": [{"groupname": "g", "roles": [{"rolename": "r"}]}],
        "anonymousGroup": "g",
    }
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    settings = [f"plugin {plugin}", f"plugin_opt_config_file {tmp_path / 'rules.json'}"]
    with mosquitto(tmp_path / "broker", settings=settings) as rig:
        broker = external(rig.port)
        async with running(broker, "secret", TWIN) as taken, client(rig) as tester:
            await connected(broker)
            assert "subscription refused by the broker filter=secret" in caplog.text
            assert not await broker.subscribe("secret")
            assert await broker.subscribe("open")
            tester.publish(UPDATE, b"x")
            await taken.until(1)


async def test_silent_broker_is_given_up(shared_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubeedge.edgecore.eventbus import connection

    monkeypatch.setattr(connection, "KEEPALIVE_S", 1)
    async with cable(shared_broker.port) as link:
        broker = external(link.port, "silent")
        async with running(broker, TWIN):
            await connected(broker)
            # With pings it lives.
            await asyncio.sleep(2.5)
            assert link.connections == 1
            link.clog()
            await until(lambda: link.connections > 1, timeout_s=10)
            link.unclog()
            await connected(broker)


async def test_user_and_password_are_shown(tmp_path: Path) -> None:
    with mosquitto(tmp_path, with_password=True) as rig:
        address = Address("127.0.0.1", rig.port, False)
        good = ExternalBroker(address, "knows-it", username=USER, password=PASSWORD, jitter=lambda: 0.1)
        failures = module.connect_failures.value()
        bad = ExternalBroker(address, "does-not", username=USER, password="wrong", jitter=lambda: 0.1)
        silent = ExternalBroker(address, "no-user", password=PASSWORD, jitter=lambda: 0.1)
        async with running(good, TWIN), running(bad, TWIN), running(silent, TWIN):
            await connected(good)
            await until(lambda: module.connect_failures.value() >= failures + 2)
            assert not bad.is_connected
            assert not silent.is_connected


async def test_both_sides_show_certificates_when_tls_is_on(tmp_path: Path) -> None:
    authority = TestAuthority(tmp_path / "pki")
    server, node = authority.issue("broker", is_server=True), authority.issue("system:node:e1")
    with mosquitto(tmp_path, tls=TlsFiles(authority.ca_file, server, server)) as rig:
        address = Address("127.0.0.1", rig.port, True)
        broker = ExternalBroker(address, "e1", tls=Tls(authority.ca_file, node, node), jitter=lambda: 0.1)
        context = ssl.create_default_context(cafile=authority.ca_file)
        context.load_cert_chain(node)
        async with running(broker, TWIN) as taken, client(rig, tls=context) as tester:
            await connected(broker)
            tester.publish(UPDATE, b"x")
            await taken.until(1)


async def test_broker_of_another_authority_is_not_spoken_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = TestAuthority(tmp_path / "ours"), TestAuthority(tmp_path / "theirs")
    server, node = theirs.issue("broker", is_server=True), ours.issue("system:node:e1")
    with mosquitto(tmp_path, tls=TlsFiles(theirs.ca_file, server, server)) as rig:
        address = Address("127.0.0.1", rig.port, True)
        async with running(ExternalBroker(address, "e1", tls=Tls(ours.ca_file, node, node), jitter=lambda: 0.1)):
            await until(lambda: "certificate verify failed" in caplog.text)


async def test_files_for_tls_without_a_url_for_it_are_warned_of(
    shared_broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = Tls(tmp_path / "ca", tmp_path / "crt", tmp_path / "key")
    broker = ExternalBroker(Address("127.0.0.1", shared_broker.port, False), "plain", tls=files)
    async with running(broker, TWIN):
        await connected(broker)
    assert "broker is spoken to without TLS" in caplog.text


async def test_certificate_that_appears_later_is_taken(tmp_path: Path) -> None:
    """Upstream crashes at the start."""
    authority = TestAuthority(tmp_path / "pki")
    server, node = authority.issue("broker", is_server=True), authority.issue("system:node:e1")
    late = tmp_path / "late.pem"
    with mosquitto(tmp_path, tls=TlsFiles(authority.ca_file, server, server)) as rig:
        address = Address("127.0.0.1", rig.port, True)
        broker = ExternalBroker(address, "e1", tls=Tls(authority.ca_file, late, late), jitter=lambda: 0.1)
        failures = module.connect_failures.value()
        async with running(broker, TWIN):
            await until(lambda: module.connect_failures.value() > failures)
            late.write_bytes(node.read_bytes())
            await connected(broker)


async def test_broker_slower_than_the_node_gets_no_more_acknowledgements(shared_broker: Mosquitto) -> None:
    """Back-pressure: what cannot be answered is not taken."""
    async with cable(shared_broker.port) as link, client(shared_broker) as tester:
        broker = external(link.port, "slow-broker")
        async with running(broker, "slow/in") as taken:
            await connected(broker)
            taken.holds = True
            for number in range(60):
                tester.publish("slow/in", b"%d" % number)
            await taken.until(20)
            link.clog()
            for _ in range(2 * CONGESTED + 1_000):
                broker.publish("slow/out", b"x" * 100)
            for done in taken.open:
                done()
            taken.holds = False
            link.unclog()
            await taken.until(60)
            assert [payload for _, payload in taken.publications] == [b"%d" % number for number in range(60)]


async def test_quality_0_flood_is_read_only_as_fast_as_it_is_handled(shared_broker: Mosquitto) -> None:
    broker = external(shared_broker.port, "flood")
    async with running(broker, "flood/in") as taken, client(shared_broker) as tester:
        await connected(broker)
        taken.holds = True
        for number in range(6_000):
            tester.publish("flood/in", b"x" * 200, quality=0)
            if number % 500 == 0:
                await asyncio.sleep(0)
        await taken.until(1_024)
        await asyncio.sleep(0.5)
        assert len(taken.open) < 6_000
        while taken.open:
            taken.open.pop()()
            await asyncio.sleep(0)
        taken.holds = False
        tester.publish("flood/in", b"last")
        await until(lambda: taken.publications[-1][1] == b"last")


async def test_what_was_said_last_still_arrives_when_the_node_stops(shared_broker: Mosquitto) -> None:
    async with client(shared_broker) as tester:
        await tester.subscribe("last/words")
        broker = external(shared_broker.port, "stops")
        async with running(broker, TWIN):
            await connected(broker)
            for number in range(500):
                broker.publish("last/words", b"%d" % number)
        assert [(await tester.next()).payload for _ in range(500)] == [b"%d" % number for number in range(500)]


async def test_stopping_in_any_state_ends_at_once() -> None:
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    ports = [free_port(), silent.sockets[0].getsockname()[1]]
    for port in ports:
        broker = external(port)
        async with asyncio.timeout(2):
            async with running(broker, TWIN):
                await asyncio.sleep(0.2)
    silent.close()


async def test_peer_that_is_no_broker_is_tried_again() -> None:
    tries = 0

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.write([b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x20\x02\x00\x05"][tries % 3])
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with running(external(server.sockets[0].getsockname()[1]), TWIN):
        await until(lambda: tries >= 4, timeout_s=20)
    server.close()


async def test_client_with_the_same_id_does_not_make_the_node_hammer(
    shared_broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """A broker throws out the one when the other comes."""
    opened = module.connections.value()
    async with running(external(shared_broker.port, "twice")), running(external(shared_broker.port, "twice")):
        await asyncio.sleep(3)
    assert 2 <= module.connections.value() - opened < 12
    assert sum(record.levelname == "WARNING" for record in caplog.records) <= 4


async def test_version_before_is_spoken_to_a_broker_that_knows_no_other() -> None:
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        is_old = b"MQIsdp\x03" in asked[-1]
        writer.write(b"\x20\x02\x00" + (b"\x00" if is_old else b"\x01"))
        await reader.read(100)
        writer.write(b"\x90\x03\x10\x01\x01")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    broker = external(server.sockets[0].getsockname()[1])
    async with running(broker, TWIN):
        await connected(broker)
    assert [b"MQTT\x04" in head for head in asked] == [True, False]
    server.close()


def test_generated_client_id_has_the_form_of_upstreams_and_stays() -> None:
    assert client_id("e1") == client_id("e1")
    assert client_id("e1") != client_id("e2")
    prefix, digits = client_id("e1")[:15], client_id("e1")[15:]
    assert prefix == "hub-client-sub-"
    assert len(digits) == 10 and digits.isdigit()
