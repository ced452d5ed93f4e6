"""A client of QEMU's machine protocol that knows nothing of this program. Usage: client.py SOCKET"""

import asyncio
import sys

from qemu.qmp import ExecuteError, QMPClient


async def refused(client, command, arguments, description):
    try:
        await client.execute(command, arguments)
    except ExecuteError as error:
        assert error.error_class == "GenericError", error.error_class
        assert str(error) == description, error
    else:
        raise AssertionError(f"{command} {arguments} was not refused")


async def main(path):
    client = QMPClient("test")
    await client.connect(path)
    greeting = client.greeting.QMP
    assert greeting.version["qemu"] == {"major": 10, "minor": 0, "micro": 0}, greeting
    assert greeting.capabilities == ["oob"], greeting

    # All that can be asked without arguments is answered.
    for command in await client.execute("query-commands"):
        if command["name"].startswith("query-"):
            await client.execute(command["name"])
    assert (await client.execute("query-status"))["running"]
    assert [cpu["thread-id"] for cpu in await client.execute("query-cpus-fast")] == [7001, 7002]

    # The schema names everything that it refers to.
    schema = {entry["name"]: entry for entry in await client.execute("query-qmp-schema")}
    for entry in schema.values():
        for member in ("arg-type", "ret-type", "element-type"):
            assert entry.get(member, "str") in schema, entry
        for member in entry.get("members", []) + entry.get("variants", []):
            assert member.get("type", "str") in schema, entry

    await refused(client, "query-status", {"x": 1}, "Parameter 'x' is unexpected")
    await refused(client, "screendump", {}, "Parameter 'filename' is missing")

    with client.listener(("STOP", "RESUME")) as events:
        await client.execute("stop")
        assert (await client.execute("query-status"))["status"] == "paused"
        await client.execute("cont")
        for name in ("STOP", "RESUME"):
            event = await asyncio.wait_for(events.get(), 30)
            assert event["event"] == name and set(event["timestamp"]) == {"seconds", "microseconds"}, event

    text = await client.execute("human-monitor-command", {"command-line": "info status"})
    assert text == "VM status: running\r\n", text
    await client.execute("system_powerdown")
    await client.execute("system_reset")
    await client.execute("quit")
    await client.disconnect()
    print("done")


asyncio.run(main(sys.argv[1]))
