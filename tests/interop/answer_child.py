"""PJSIP as somebody who is called: answers, speaks a file when told to, presses keys, keeps what it hears.

Usage: answer_child.py PORT udp|tls SECURITY CODEC SPEAK.wav HEARD.wav [CERTIFICATE KEY]
SECURITY: none, sdes. Lines on its input: a key to press, 'speak', 'bye'. It ends when the call does, or after PJ_SECONDS (25). It prints
{"ready"}, {"from"} when it rings, {"up"} when there is sound, and {"done"} at the end.
"""

import json
import os
import select
import sys
import time

import pjsua2 as pj

PORT, WAY, SECURITY, CODEC, SPEAK, HEARD = sys.argv[1:7]
CERTIFICATE, KEY = (*sys.argv[7:9], "", "")[:2]


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


class Call(pj.Call):
    gone = False

    def onCallState(self, prm):
        self.gone = self.gone or self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED

    def speaks(self) -> bool:
        info = self.getInfo()
        return (
            info.state == pj.PJSIP_INV_STATE_CONFIRMED and info.media[0].status == pj.PJSUA_CALL_MEDIA_ACTIVE
        )


class Account(pj.Account):
    call = None

    def onIncomingCall(self, prm):
        self.call = Call(self, prm.callId)
        secure = prm.rdata.wholeMsg.count("RTP/SAVP") > 0
        say(**{"from": self.call.getInfo().remoteUri, "secure": secure, "at": time.time()})
        for code in (180, 200):
            answer = pj.CallOpParam()
            answer.statusCode = code
            self.call.answer(answer)


def main() -> None:
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = int(os.environ.get("PJ_LOG", "0"))
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.medConfig.clockRate = config.medConfig.sndClockRate = 8000
    config.medConfig.noVad, config.medConfig.ecTailLen = True, 0
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = transport.publicAddress = "127.0.0.1"
    transport.port = int(PORT)
    if CERTIFICATE:
        transport.tlsConfig.certFile, transport.tlsConfig.privKeyFile = CERTIFICATE, KEY
    kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tls": pj.PJSIP_TRANSPORT_TLS}
    endpoint.transportCreate(kinds[WAY], transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 200 if codec.codecId.startswith(f"{CODEC}/") else 0)
    settings = pj.AccountConfig()
    settings.idUri = "sip:somebody@127.0.0.1"
    media = settings.mediaConfig
    media.transportConfig.boundAddress = "127.0.0.1"
    if SECURITY == "sdes":
        media.srtpUse, media.srtpSecureSignaling = pj.PJMEDIA_SRTP_MANDATORY, 1
    account = Account()
    account.create(settings)
    say(ready=True)
    began, recorder, player = time.monotonic(), None, None
    while time.monotonic() - began < float(os.environ.get("PJ_SECONDS", "25")) and not (
        account.call and account.call.gone
    ):
        endpoint.libHandleEvents(10)
        call = account.call
        if call and recorder is None and not call.gone and call.speaks():
            call.sound = call.getAudioMedia(0)
            recorder = pj.AudioMediaRecorder()
            recorder.createRecorder(HEARD)
            call.sound.startTransmit(recorder)
            say(up=True)
        if not select.select([0], [], [], 0)[0]:
            continue
        told = os.read(0, 64).decode().strip()
        if told == "speak":
            player = pj.AudioMediaPlayer()
            player.createPlayer(SPEAK, pj.PJMEDIA_FILE_NO_LOOP)
            player.startTransmit(call.sound)
        elif told == "bye":
            call.hangup(pj.CallOpParam())
        elif told and call:
            call.dialDtmf(told)
    del recorder  # writes the file's head, from its own queue
    for _ in range(30):
        endpoint.libHandleEvents(10)
    say(done=True, gone=bool(account.call and account.call.gone))
    os._exit(0)


main()
