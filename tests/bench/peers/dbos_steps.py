"""Durable steps of DBOS on SQLite: workflows whose steps do nothing.

`dbos_steps.py ... STEPS IN-FLIGHT CHAIN` prints steps a second as JSON: `many`, with so many workflows under way, and `chain`,
one step after the other.
"""

import asyncio
import json
import os
import sys
import tempfile
import time

os.environ.setdefault("DBOS__CLOUD", "false")

from dbos import DBOS, DBOSConfig  # noqa: E402


@DBOS.step()
async def nothing() -> None:
    """Does nothing, durably."""


@DBOS.workflow()
async def steps(count: int) -> int:
    for _ in range(count):
        await nothing()
    return count


async def main() -> None:
    many_steps, in_flight, chain_steps = (int(argument) for argument in sys.argv[-3:])
    each = many_steps // in_flight
    await steps(1)
    began = time.monotonic()
    await asyncio.gather(*(steps(each) for _ in range(in_flight)))
    many = each * in_flight / (time.monotonic() - began)
    began = time.monotonic()
    await steps(chain_steps)
    chain = chain_steps / (time.monotonic() - began)
    print(json.dumps({"many": many, "chain": chain}))


with tempfile.TemporaryDirectory() as place:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{place}/dbos.sqlite",
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    asyncio.run(main())
    DBOS.destroy()
