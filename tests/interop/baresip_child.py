"""baresip as a child process: one call, driven by arguments, told as JSON lines.

Usage: baresip_child.py PORT udp|tcp URI|listen SCRIPT
SCRIPT: comma-separated steps: wait=SECONDS, hold, resume, bye, up, end.
"""

import asyncio
import json
import os
import sys

import baresip


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def main() -> None:
    port, way, uri, script = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].split(",")
    runtime = baresip.Runtime()
    await runtime.start(
        baresip.Config(net_interface="127.0.0.1", extra_config_text=f"sip_listen 127.0.0.1:{port}\n")
    )
    account = baresip.Account(
        user="5550100", domain=f"127.0.0.1:{port}", password="", reg_interval=0, transport=way
    )
    agent = await baresip.UserAgent.create(runtime, account)
    incoming: asyncio.Future = asyncio.get_running_loop().create_future()
    agent.on_incoming(lambda call: incoming.done() or incoming.set_result(call))
    say(ready=True)
    if uri == "listen":
        call = await incoming
        await call.answer()
    else:
        call = await agent.dial(uri)

    async def ended() -> None:
        while call.state is not baresip.CallState.CLOSED:
            await asyncio.sleep(0.02)

    up = False
    for step in script:
        if step.startswith("wait="):
            await asyncio.sleep(float(step[5:]))
        elif step == "up":
            await call.wait_established(10)
            up = True
        elif step == "hold":
            await call.hold()
        elif step == "resume":
            await call.resume()
        elif step == "bye":
            await call.hangup()
        elif step == "end":
            await ended()
    async with asyncio.timeout(5):
        await ended()
    say(done=True, up=up, gone=True)
    os._exit(0)


async def limited() -> None:
    try:
        async with asyncio.timeout(25):
            await main()
    except Exception as error:
        say(error=f"{type(error).__name__}: {error}")
        os._exit(1)


asyncio.run(limited())
