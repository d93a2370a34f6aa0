"""PJSIP or baresip as a caller with a voice: presses a key, speaks a file until its end, keeps what it hears.

Usage: sound_child.py pjsip|baresip URI SECURITY CODEC SPEAK.wav HEARD.wav KEY SECONDS NUMBER [CA.pem]
SECURITY: none, sdes, dtls. SPEAK: 8000 Hz, 16 bit. SECONDS: after which it hangs up. A line on its input is a key to press
now. The last line is {"done": …}; `gone`: the other side had hung up before.
"""

import asyncio
import json
import os
import select
import sys
import time
import wave
from collections.abc import Callable
from typing import Any

STACK, URI, SECURITY, CODEC, SPEAK, HEARD, KEY, SECONDS, NUMBER = sys.argv[1:10]
CA = sys.argv[10] if len(sys.argv) > 10 else ""
KEPT: list[Any] = []  # what must live as long as the call
WAY = "tls" if "transport=tls" in URI else "tcp" if "transport=tcp" in URI else "udp"


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def asked() -> str:
    """A key that is to be pressed now, or ''."""
    return os.read(0, 8).decode().strip() if select.select([0], [], [], 0)[0] else ""


async def baresip_dialled() -> Any:
    """A call of its, once its sound can be sent or it is over."""
    import baresip

    # baresip takes what is offered to it; its own offer must be encrypted or nothing.
    encryption = {"none": (), "sdes": ("mediaenc=srtp-mand",), "dtls": ("mediaenc=dtls_srtp",)}[SECURITY]
    address = "::1" if "[" in URI else "127.0.0.1"
    host = f"[{address}]" if ":" in address else address
    text = f"sip_listen {host}:0\naudio_jitter_buffer_type off\n" + (f"sip_cafile {CA}\n" if CA else "")
    runtime = baresip.Runtime()
    await runtime.start(baresip.Config(net_interface=address, extra_config_text=text))
    account = baresip.Account(
        user=NUMBER, domain=host, password="", reg_interval=0, transport=WAY, extra_params=encryption,
        audio_codecs=({"PCMU": "pcmu", "PCMA": "pcma", "G722": "g722/16000/1", "opus": "opus/48000/2"}[CODEC],),
    )  # fmt: skip
    agent = await baresip.UserAgent.create(runtime, account)
    call = await agent.dial(URI)
    limit = time.monotonic() + 10
    while True:  # its own `wait_established` misses what happened before it was called
        try:
            if call.audio.info().tx_ready:
                break
        except baresip.BaresipError:
            if time.monotonic() > limit or call.state is baresip.CallState.CLOSED:
                break
        await asyncio.sleep(0.02)
    KEPT.extend((runtime, agent))
    return call


def baresip_speak(call: Any, speech: bytearray) -> None:
    """Give it what it takes of the speech, as far ahead as it goes: on a busy machine our turn may come late."""
    info = call.audio.info()
    while info.tx_ready and speech:
        up = info.tx_sample_rate // 8000 * info.tx_channels
        piece = speech[:640]
        if call.audio.info().tx_buffered + len(piece) * up > info.tx_capacity:
            break
        wide = b"".join(piece[at : at + 2] * up for at in range(0, len(piece), 2))
        del speech[: call.audio.write(wide) // up]


def baresip_written(heard: bytes, info: Any) -> None:
    with wave.open(HEARD, "wb") as file:
        file.setnchannels(info.rx_channels or 1 if info else 1)
        file.setsampwidth(2)
        file.setframerate(info.rx_sample_rate or 8000 if info else 8000)
        file.writeframes(heard)


async def baresip_call() -> None:
    import baresip

    call = await baresip_dialled()
    with wave.open(SPEAK) as file:
        speech = bytearray(file.readframes(file.getnframes()))
    heard = bytearray()
    began = time.monotonic()
    pressed, info = False, None
    while time.monotonic() - began < float(SECONDS) and call.state is not baresip.CallState.CLOSED:
        await asyncio.sleep(0.02)
        if key := asked():
            await call.send_dtmf(key)
        try:
            info = call.audio.info()
            if info.rx_ready:
                heard += call.audio.read(1 << 20)
            if pressed:
                baresip_speak(call, speech)
        except baresip.BaresipError:
            continue
        if not pressed and time.monotonic() - began > 1.5:
            pressed = True
            await call.send_dtmf(KEY)
    baresip_written(bytes(heard), info)
    state = call.state
    if state is not baresip.CallState.CLOSED:
        await call.hangup()
    await asyncio.sleep(0.3)
    say(done=True, gone=state is baresip.CallState.CLOSED)
    os._exit(0)


def pjsip_endpoint() -> Any:
    """One that runs, with one codec."""
    import pjsua2 as pj

    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.medConfig.clockRate = config.medConfig.sndClockRate = 8000 if CODEC in ("PCMU", "PCMA") else 16000
    config.medConfig.noVad, config.medConfig.ecTailLen = True, 0
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = transport.publicAddress = "127.0.0.1"
    if CA:
        transport.tlsConfig.CaListFile, transport.tlsConfig.verifyServer = CA, True
    kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
    endpoint.transportCreate(kinds[WAY], transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 200 if codec.codecId.startswith(f"{CODEC}/") else 0)
    return endpoint


def pjsip_account() -> Any:
    import pjsua2 as pj

    settings = pj.AccountConfig()
    settings.idUri = f"sip:{NUMBER}@127.0.0.1"
    media = settings.mediaConfig
    media.transportConfig.boundAddress = "127.0.0.1"
    if SECURITY != "none":
        media.srtpUse, media.srtpSecureSignaling = pj.PJMEDIA_SRTP_MANDATORY, 0
        keyings = pj.IntVector()
        keyings.push_back(
            pj.PJMEDIA_SRTP_KEYING_SDES if SECURITY == "sdes" else pj.PJMEDIA_SRTP_KEYING_DTLS_SRTP
        )
        media.srtpOpt.keyings = keyings
    account = pj.Account()
    account.create(settings)
    return account


def pjsip_dialled(account: Any) -> Any:
    import pjsua2 as pj

    class Call(pj.Call):
        code = 0
        gone = False
        active = False

        def onCallState(self, prm):
            info = self.getInfo()
            self.code = info.lastStatusCode
            self.gone = self.gone or info.state == pj.PJSIP_INV_STATE_DISCONNECTED

        def onCallMediaState(self, prm):
            info = self.getInfo()  # its media are gone as soon as it is
            if info.media[0].status == pj.PJSUA_CALL_MEDIA_ACTIVE and not self.active:
                self.sound, self.active = self.getAudioMedia(0), True

    call = Call(account)
    call.makeCall(URI, pj.CallOpParam(True))
    return call


def pjsip_turn(endpoint: Any, call: Any, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until() and not call.gone:
        endpoint.libHandleEvents(10)
        if key := asked():
            call.dialDtmf(key)


def pjsip_talk(endpoint: Any, call: Any) -> bool:
    """Press, speak and keep what is heard. Whether the other side hung up."""
    import pjsua2 as pj

    recorder = pj.AudioMediaRecorder()
    recorder.createRecorder(HEARD)
    call.sound.startTransmit(recorder)
    began = time.monotonic()
    pjsip_turn(endpoint, call, 1.5)
    call.dialDtmf(KEY)
    pjsip_turn(endpoint, call, 0.5)
    player = pj.AudioMediaPlayer()
    player.createPlayer(SPEAK, pj.PJMEDIA_FILE_NO_LOOP)
    player.startTransmit(call.sound)
    pjsip_turn(endpoint, call, float(SECONDS) - (time.monotonic() - began))
    if not call.gone:
        call.sound.stopTransmit(recorder)
    del recorder  # writes the file's head, from its own queue
    for _ in range(30):
        endpoint.libHandleEvents(10)
    gone = bool(call.gone)
    if not gone:
        call.hangup(pj.CallOpParam())
    return gone


def pjsip_call() -> None:
    endpoint = pjsip_endpoint()
    account = pjsip_account()
    call = pjsip_dialled(account)
    pjsip_turn(endpoint, call, 10, lambda: call.active)
    gone = pjsip_talk(endpoint, call) if call.active else False
    pjsip_turn(endpoint, call, 2)
    say(done=True, code=call.code, active=call.active, gone=gone)
    os._exit(0)


say(ready=True)
if STACK == "pjsip":
    pjsip_call()
else:
    asyncio.run(baresip_call())
