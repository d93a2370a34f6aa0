"""What is known of carriers beforehand: data for the form of a new trunk. Facts of November 2026; the guide tells more.

Networks stand here only where the carrier itself publishes them; elsewhere the installer copies them from the carrier.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightbell.sip.trunk import Kind


@dataclass(frozen=True, slots=True)
class Preset:
    """kinds: the ways that this carrier offers, the best first; sources: published networks that calls come from;
    secure: what must be switched on there; baa: what is known of a business associate agreement; look: where the
    installer finds what is missing here."""

    id: str
    name: str
    kinds: tuple[Kind, ...]
    domain: str = ""
    proxy: str = ""
    transport: str = "tls"
    sources: tuple[str, ...] = ()
    secure: str = ""
    baa: str = ""
    look: str = ""


_TWILIO = (
    "54.172.60.0/30", "54.244.51.0/30", "54.171.127.192/30", "35.156.191.128/30", "54.65.63.192/30",
    "54.169.127.128/30", "54.252.254.64/30", "177.71.206.192/30",
)  # fmt: skip

PRESETS: tuple[Preset, ...] = (
    Preset(
        "twilio", "Twilio Elastic SIP Trunking", (Kind.ADDRESS,), sources=_TWILIO,
        secure="Switch on Secure Trunking (TLS and SRTP) in the trunk's settings, and give the origination address as "
        "sip:your-host:5061;transport=tls.",
        baa="Twilio signs one for accounts with a package that includes it; then mark the project as HIPAA.",
        look="Compare the networks with Twilio's page on IP addresses of Elastic SIP Trunking: they change now and then.",
    ),
    Preset(
        "telnyx", "Telnyx", (Kind.REGISTER, Kind.ADDRESS), domain="sip.telnyx.com",
        sources=("192.76.120.10", "64.16.250.10"),
        secure="In the SIP connection choose TLS as transport and SRTP as encrypted media.",
        baa="Ask Telnyx for one before the first call.",
        look="User name and password stand in the connection, under Authentication. The two addresses are those of the US.",
    ),
    Preset(
        "bandwidth", "Bandwidth", (Kind.ADDRESS,),
        secure="Ask your Bandwidth contact for TLS and SRTP on the location that holds your numbers.",
        baa="Ask Bandwidth for one before the first call.",
        look="The signalling addresses of your account are in your welcome letter and on Bandwidth's support page.",
    ),
    Preset(
        "flowroute", "Flowroute", (Kind.ADDRESS, Kind.REGISTER), domain="us-west-or.sip.flowroute.com",
        sources=("34.210.91.112/28", "34.226.36.32/28"),
        secure="Flowroute offers TLS for signalling. Ask whether your account gets SRTP; without it sound is unencrypted, "
        "and its risk must be accepted here before calls are taken.",
        baa="Ask Flowroute for one before the first call.",
        look="The two networks are those of the US. Choose your nearest point of presence under Interconnection.",
    ),
    Preset(
        "voipms", "VoIP.ms", (Kind.REGISTER,),
        secure="In the sub account switch on Encrypted SIP traffic: then TLS and SRTP are required.",
        baa="We know of none. Without one do not let patients' calls come this way.",
        look="Use a sub account of its own. The server is the point of presence of your number, such as "
        "newyork1.voip.ms.",
    ),
    Preset(
        "other", "Another carrier, your own PBX or SBC", (Kind.ADDRESS, Kind.REGISTER, Kind.CERTIFICATE),
        secure="Switch on TLS (port 5061) and SRTP on the other side.",
        look="Your carrier's page on SIP trunks names host, addresses and, for registering, user and password.",
    ),
)  # fmt: skip
_BY_ID = {one.id: one for one in PRESETS}
OTHER = _BY_ID["other"]


def preset(name: str) -> Preset:
    """By its id; the general one for an unknown id."""
    return _BY_ID.get(name, OTHER)
