"""Kamailio as a carrier: a registrar and an outbound proxy that ask who we are, over UDP, TCP and TLS, all in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from tests.phone.certs import Authority
from tests.ports import free_port

CONFIG = """#!KAMAILIO
debug=1
log_stderror=yes
children=2
socket_workers=1
tcp_children=2
auto_aliases=no
alias="{domain}"
enable_tls=yes
tcp_accept_no_cl=no
tcp_connection_lifetime=600
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
listen=tls:127.0.0.1:{tls}
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "tls.so"
loadmodule "kex.so"
loadmodule "corex.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
modparam("tls", "private_key", "{key}")
modparam("tls", "certificate", "{certificate}")
modparam("tls", "ca_list", "{ca}")
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "verify_certificate", 0)
modparam("usrloc", "db_mode", 0)
modparam("registrar", "default_expires", {grants})
modparam("registrar", "max_expires", {grants})
modparam("registrar", "min_expires", 60)
modparam("registrar", "outbound_mode", 0)
modparam("auth", "algorithm", "{algorithm}")
modparam("auth", "nonce_expire", {nonce})
modparam("rr", "enable_full_lr", 1)
{engine}
request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("OPTIONS") && uri == myself) {{ sl_send_reply("200", "OK"); exit; }}
    if (has_totag()) {{
        loose_route();
        if (is_method("ACK") && !t_check_trans()) {{ t_relay(); exit; }}
        if (is_method("BYE")) route(SOUND_OVER);
        t_relay();
        exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("$td", "{ha1}", "1")) {{
            if ($rc == -4) auth_challenge("$td", "17");  # its nonce has run out: stale=true
            else auth_challenge("$td", "1");
            exit;
        }}
        save("location");
        exit;
    }}
    if ($fU == "{user}") {{
        if (!pv_proxy_authenticate("{domain}", "{ha1}", "1")) {{ proxy_challenge("{domain}", "1"); exit; }}
        consume_credentials();
    }}
    if (is_method("INVITE") && lookup("location")) {{ route(SOUND); record_route(); t_relay(); exit; }}
    sl_send_reply("404", "Not Found");
}}
"""
WITHOUT = "route[SOUND] { return; }\nroute[SOUND_OVER] { return; }\n"
# Sound goes by rtpengine, encrypted from there on. SDES-off: a carrier that has DTLS-SRTP only. Who calls chooses the parts:
# rtpengine offers either and begins itself; of a number that ends in 2 its offer says that it waits, so that we must begin.
ENGINE = """loadmodule "rtpengine.so"
loadmodule "textopsx.so"
modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:{port}")
route[SOUND] {{
    if ($fU =~ "2$") {{
        rtpengine_manage("replace-origin ICE=remove SDES-off DTLS=passive transport-protocol=UDP/TLS/RTP/SAVPF");
        msg_apply_changes();
        replace_body("a=setup:actpass", "a=setup:passive");
    }}
    else rtpengine_manage("replace-origin ICE=remove SDES-off transport-protocol=UDP/TLS/RTP/SAVP");
    t_on_reply("SOUND");
}}
route[SOUND_OVER] {{ rtpengine_manage(); }}
onreply_route[SOUND] {{
    if (has_body("application/sdp")) rtpengine_manage("replace-origin ICE=remove transport-protocol=RTP/AVP");
}}
"""


class Kamailio:
    """port: of UDP and TCP; tls: of TLS."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port, self.tls = port, port + 1
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "kamailio.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "kamailio", "-DD", "-E", "-f", str(self._folder / "kamailio.cfg"), "-m", "32", "-M", "4",
                "-Y", str(self._folder), "-w", str(self._folder), "-P", str(self._folder / "pid"),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
            )  # fmt: skip
        for _ in range(200):
            if self._process.returncode is not None:
                break
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.tls)
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise AssertionError((self._folder / "kamailio.log").read_text()[-3000:])

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)  # its children too
                await process.wait()


@contextlib.asynccontextmanager
async def carrier(
    folder: Path,
    authority: Authority,
    domain: str,
    user: str,
    ha1: str,
    algorithm: str = "MD5",
    grants: int = 600,
    nonce: int = 300,
    engine: int = 0,
) -> AsyncIterator[Kamailio]:
    """One that is running. nonce: seconds for which it takes one; engine: control port of an rtpengine, by which the sound of
    the calls to who is registered goes, encrypted with DTLS-SRTP."""
    pair = authority.issue(domain, "127.0.0.1")
    it = Kamailio(folder, free_port())
    (folder / "kamailio.cfg").write_text(
        CONFIG.format(
            domain=domain, port=it.port, tls=it.tls, key=pair.key, certificate=pair.certificate, ca=authority.file,
            grants=grants, nonce=nonce, algorithm=algorithm, ha1=ha1, user=user,
            engine=ENGINE.format(port=engine) if engine else WITHOUT,
        )
    )  # fmt: skip
    await it.start()
    try:
        yield it
    finally:
        await it.stop()
