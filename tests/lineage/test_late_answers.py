"""Real RxDB terminals whose pushes are answered late: what they pull meanwhile must not get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from api.fault_proxy import FaultProxy
from api.terminal import Terminal
from tests.lineage.lineage_world import PASSWORD, Client, Document, World, prepare, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

LATEST = 5.0
NEW = {"areaCode": "220102", "status": "OPERATING", "source": "INSPECTION"}
DELETE = "mutation ($id: ID!) { deleteEnterprise(id: $id) }"
SAVE = "mutation ($input: EnterpriseInput!) { saveEnterprise(input: $input) { id } }"


@dataclass
class Field:
    """A terminal of `ins` behind a network of its own, and a supervisor."""

    world: World
    proxy: FaultProxy
    terminal: Terminal
    boss: Client

    async def get(self, document_id: str) -> Document | None:
        found: Document | None = await self.terminal.call("get", collection="enterprise", id=document_id)
        return found

    async def made(self) -> str:
        """A document that the terminal and the server have."""
        document = await self.terminal.call("insert", collection="enterprise", document={**NEW, "name": "甲厂"})
        await self.quiet()
        return str(document["id"])

    async def edit(self, document_id: str) -> None:
        await self.terminal.call("edit", collection="enterprise", id=document_id, set={"remark": "mine"})

    async def quiet(self) -> None:
        """Twice: what the first round sent comes back in the second."""
        for _ in range(2):
            await self.terminal.call("sync")
            await self.world.stamped()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def out(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Field]:
    await prepare(module_database_url)
    folder = tmp_path_factory.mktemp("data")
    async with serving(module_database_url, folder) as world:
        proxy = FaultProxy(f"{world.url}/graphql")
        await proxy.start()
        terminal = await Terminal.start("late", proxy.url, deviceId="late", retryTime=200)
        await terminal.call("login", username="ins", password=PASSWORD)
        await terminal.call("open", collections=["enterprise", "syncConflict"])
        yield Field(world, proxy, terminal, await world.sign_in("boss"))
        await terminal.quit()
        await proxy.close()


async def _delete(out: Field, document_id: str) -> None:
    await out.boss.data(DELETE, id=document_id)


async def _change(out: Field, document_id: str) -> None:
    await out.boss.data(SAVE, input={"id": document_id, "contactPhone": "000-1"})


@pytest.mark.parametrize(("meanwhile", "expected"), [(_delete, None), (_change, ("000-1", "mine"))])
async def test_what_others_write_before_the_answer_to_a_push_has_come_is_not_passed_over(
    out: Field, meanwhile: Callable[[Field, str], Awaitable[None]], expected: tuple[str, str] | None
) -> None:
    document_id = await out.made()
    pulled = out.proxy.delay("query PullEnterprise", 0.5)
    syncing = asyncio.create_task(out.terminal.call("sync"))
    await asyncio.wait_for(pulled.arrived.wait(), 5)
    pushed = out.proxy.dally("mutation Push", LATEST)
    await out.edit(document_id)
    await asyncio.wait_for(pushed.answered.wait(), 5)
    await meanwhile(out, document_id)
    await out.world.stamped()
    await asyncio.wait_for(pulled.finished.wait(), 5)
    await asyncio.sleep(0.1)  # the page has arrived, and would be taken in now
    pushed.passing.set()
    await syncing
    await out.quiet()
    held = await out.get(document_id)
    assert (held and (held["contactPhone"], held["remark"])) == expected
