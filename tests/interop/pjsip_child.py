"""PJSIP as a child process: one call, driven by arguments, told as JSON lines.

Usage: pjsip_child.py PORT udp|tcp URI|listen SCRIPT [PROXY]
SCRIPT: comma-separated steps for the one call: wait=SECONDS, hold, resume, bye, up (wait until confirmed),
end (wait until disconnected). Every state and medium is printed; the last line is {"done": …}.
"""

import json
import os
import sys
import time

import pjsua2 as pj


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Call(pj.Call):
    up = gone = False
    code = 0

    def onCallState(self, prm):
        info = self.getInfo()
        self.code = info.lastStatusCode
        self.up = self.up or info.state == pj.PJSIP_INV_STATE_CONFIRMED
        self.gone = self.gone or info.state == pj.PJSIP_INV_STATE_DISCONNECTED
        say(state=info.stateText, code=info.lastStatusCode)

    def onCallMediaState(self, prm):
        info = self.getInfo()
        say(media=[medium.status for medium in info.media])


class Account(pj.Account):
    call = None

    def onIncomingCall(self, prm):
        self.call = Call(self, prm.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        self.call.answer(answer)


def main() -> None:
    port, way, uri, script = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].split(",")
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = int(os.environ.get("PJ_LOG", "0"))
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.medConfig.clockRate = 8000
    config.medConfig.noVad = True
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = transport.publicAddress = "127.0.0.1"
    transport.port = port
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP if way == "udp" else pj.PJSIP_TRANSPORT_TCP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    settings = pj.AccountConfig()
    settings.idUri = "sip:5550100@127.0.0.1"
    settings.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    settings.mediaConfig.transportConfig.port = port + 2
    if len(sys.argv) > 5:
        settings.sipConfig.proxies.append(sys.argv[5])
    account = Account()
    account.create(settings)
    say(ready=True)
    if uri != "listen":
        account.call = Call(account)
        account.call.makeCall(uri, pj.CallOpParam(True))
    began = time.monotonic()

    def turn(until, limit: float = 12.0) -> None:
        end = time.monotonic() + limit
        while not until() and time.monotonic() < end and time.monotonic() - began < 25:
            endpoint.libHandleEvents(10)

    turn(lambda: account.call is not None)
    call = account.call
    for step in script:
        if step.startswith("wait="):
            start = time.monotonic()
            turn(lambda start=start, step=step: time.monotonic() - start > float(step[5:]))
        elif step == "up":
            turn(lambda: call.up or call.gone)
        elif step == "end":
            turn(lambda: call.gone)
        elif not call.gone and step == "hold":
            call.setHold(pj.CallOpParam(True))
        elif not call.gone and step == "resume":
            again = pj.CallOpParam(True)
            again.opt.flag = pj.PJSUA_CALL_UNHOLD
            call.reinvite(again)
        elif not call.gone and step == "bye":
            call.hangup(pj.CallOpParam())
    turn(lambda: call.gone, 3.0)
    say(done=True, up=call.up, gone=call.gone, code=call.code)
    os._exit(0)  # its own shutdown is not always clean


main()
