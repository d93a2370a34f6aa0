"""SIPp as caller and callee: scenarios written as short scripts, run as child processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.ports import free_port

VIA = "Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]"
OFFER = """v=0
o=sipp 1 {version} IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio {port} RTP/AVP 0 101
a=rtpmap:101 telephone-event/8000
a={direction}
"""


def _message(first: str, cseq: str, body: str = "", tag: bool = True, via: str = VIA) -> str:
    to = "[peer_tag_param]" if tag else ""
    kind = "Content-Type: application/sdp\n" if body else ""
    return f"""{first} SIP/2.0
{via}
From: <sip:5550100@[local_ip]:[local_port]>;tag=[pid]T[call_number]
To: <sip:line@[remote_ip]:[remote_port]>{to}
Call-ID: [call_id]
CSeq: {cseq}
Contact: <sip:5550100@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
{kind}Content-Length: [len]

{body}"""


def send(text: str, attributes: str = "") -> str:
    return f"<send {attributes}><![CDATA[\n{text}\n]]></send>\n"


def recv(code: int, attributes: str = "") -> str:
    return f'<recv response="{code}" {attributes}/>\n'


def recv_request(method: str) -> str:
    return f'<recv request="{method}"/>\n'


def pause(ms: int) -> str:
    return f'<pause milliseconds="{ms}"/>\n'


def offer(port: int = 41000, direction: str = "sendrecv", version: int = 1) -> str:
    return OFFER.format(port=port, direction=direction, version=version)


PROVISIONAL = recv(100, 'optional="true"') + recv(180, 'optional="true"')


def invite(cseq: int = 1, body: str | None = None) -> str:
    text = _message(
        "INVITE sip:line@[remote_ip]:[remote_port]" if cseq == 1 else "INVITE [next_url]",
        f"{cseq} INVITE",
        offer() if body is None else body,
        tag=cseq > 1,
    )
    return send(text, 'retrans="500"')


def ack(cseq: int = 1, body: str = "") -> str:
    return send(_message("ACK [next_url]", f"{cseq} ACK", body))


def refusal_ack() -> str:
    return send(_message("ACK sip:line@[remote_ip]:[remote_port]", "1 ACK", via="[last_Via:]"))


def cancel(back: int = 3) -> str:
    """back: how many messages ago the INVITE was, whose branch a CANCEL bears."""
    first = "CANCEL sip:line@[remote_ip]:[remote_port]"
    via = VIA.replace("[branch]", f"[branch-{back}]")
    return send(_message(first, "1 CANCEL", tag=False, via=via), 'retrans="500"')


def bye(cseq: int = 2) -> str:
    return send(_message("BYE [next_url]", f"{cseq} BYE"), 'retrans="500"') + recv(200)


def reply_200() -> str:
    text = """SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

"""
    return send(text)


def answer(code: int = 200, body: bool = True) -> str:
    kind = "Content-Type: application/sdp\n" if body else ""
    text = f"""SIP/2.0 {code} X
[last_Via:]
[last_From:]
[last_To:];tag=[pid]U[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port];transport=[transport]>
{kind}Content-Length: [len]

{offer() if body else ""}"""
    return send(text, 'retrans="500"' if code >= 200 else "")


ANSWERED = PROVISIONAL + recv(200, 'rrs="true"')
PLAIN = invite() + ANSWERED + ack() + pause(300) + bye()
# Long enough for two repeats of an answer whose ACK got lost.
SLOW = invite() + ANSWERED + ack() + pause(2200) + bye()


def patient(caller: str, sound: Path, then: str) -> str:
    """Somebody whom a carrier rings for us: looks at the number that is shown, answers, plays a pcap file, and then goes by
    `then`. caller: a pattern for the user of From and P-Asserted-Identity; any other number fails the script."""
    shown = [("From", 1), ("P-Asserted-Identity", 3)]
    looks = "".join(
        f'<ereg regexp="sip:{caller}@" search_in="hdr" header="{name}:" check_it="true" assign_to="{number}"/>\n'
        for name, number in shown
    )
    return (
        f'<recv request="INVITE" rrs="true"><action>\n{looks}'
        '<ereg regexp=".*" search_in="hdr" header="From:" assign_to="2"/><log message="[$1][$2][$3]"/>\n'
        "</action></recv>\n" + answer(180, body=False) + answer().replace("m=audio 41000", "m=audio [media_port]")
        + recv_request("ACK") + f'<nop><action><exec play_pcap_audio="{sound}"/></action></nop>\n' + then
    )  # fmt: skip


# Of `patient`, whose $2 is the caller's From.
HANGS_UP = send(
    """BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:x@127.0.0.1>;tag=[pid]U[call_number]
To:[$2]
Call-ID: [call_id]
CSeq: 1 BYE
Max-Forwards: 70
Content-Length: 0

""",
    'retrans="500"',
) + recv(200)  # fmt: skip
IS_HUNG_UP_ON = recv_request("BYE") + reply_200()


class Sipp:
    """One SIPp process. `await done()` fails with SIPp's own words unless every call went by the script. media: the UDP port
    of its sound."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, media: int, folder: Path) -> None:
        self._process, self.port, self.media, self._folder = process, port, media, folder

    async def done(self, seconds: float = 30.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                output, _ = await self._process.communicate()
        except TimeoutError:
            self.stop()
            output = b"(timed out)"
        if self._process.returncode:
            errors = b"".join(path.read_bytes() for path in self._folder.glob("*errors.log"))
            raise AssertionError((errors or output)[-1500:].decode("utf-8", "replace"))

    def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


def prepared(
    folder: Path, name: str, script: str, to: int, transport: str = "u1", *extra: str, calls: int = 1
) -> tuple[list[str], int, int, Path]:
    """The command for a script, its SIP port and its port for sound, and the folder to run it in. As `start`."""
    folder = folder / name
    folder.mkdir()
    (folder / "s.xml").write_text(
        f'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name="{name}">\n{script}</scenario>\n'
    )
    port, media = free_port(), free_port()
    command = ["sipp", "-sf", "s.xml", "-m", str(calls), "-i", "127.0.0.1", "-p", str(port), "-t", transport]
    command += ["-mp", str(media), "-nostdin", "-trace_err", "-timeout", "25", "-timeout_error"]
    command += [*extra, *([f"127.0.0.1:{to}"] if to else [])]
    return command, port, media, folder


async def start(
    folder: Path, name: str, script: str, to: int, transport: str = "u1", *extra: str, calls: int = 1
) -> Sipp:
    """Start SIPp with a script. to: UDP or TCP port that it calls, 0 for a callee. name: unique in `folder`."""
    command, port, media, folder = prepared(folder, name, script, to, transport, *extra, calls=calls)
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return Sipp(process, port, media, folder)


async def caller(folder: Path, name: str, script: str, to: int, transport: str = "u1", *extra: str) -> None:
    await (await start(folder, name, script, to, transport, *extra)).done()
