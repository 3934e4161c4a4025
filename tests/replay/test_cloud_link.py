"""Our cloud, told what a Go edge told a Go cloud, answers as that one did (spec 03 §16)."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kubeedge.cloudcore.app import CloudCore
from tests.embedded import embedded_apiserver
from tests.replay.link import LinkEdge, running_cloudcore
from tests.replay.player import LATER, Player
from tests.replay.recording import load
from tests.replay.world import Names, World

# ObjectSyncs are written once a second for a node; a cloud that ends before sends once more what they would have said.
SYNCS_WRITTEN_S = 1.5


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("name", "compared"), [("link-websocket.jsonl", 61), ("link-websocket-2.jsonl", 65)])
async def test_every_message_of_the_edge_is_accepted_and_answered_as_recorded(
    tmp_path: Path, name: str, compared: int, workers: int
) -> None:
    async with (
        embedded_apiserver(tmp_path / "api", "default", "kube-node-lease") as server,
        AsyncExitStack() as stack,
    ):

        async def cloud() -> CloudCore:
            """Return a cloudcore, a new one for each connection: the edge lost the first by its death."""
            if edge.connections:
                await asyncio.sleep(SYNCS_WRITTEN_S)
            await stack.aclose()
            return await stack.enter_async_context(running_cloudcore(server.kubeconfig, tmp_path, workers=workers))

        names = Names()
        edge = LinkEdge(cloud)
        player = Player(edge, World(server.api, names), names, load(name))
        await player.set_up()
        await player.play()
        assert [message for message in edge.inbox if not player.is_left_out(message)] == []
        assert player.compared == compared
        assert set(player.left_out) <= {reason for reason, _ in LATER}
        edge.close()
        await stack.aclose()
