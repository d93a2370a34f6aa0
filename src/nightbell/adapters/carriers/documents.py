"""What a provider is told to do, as TwiML; TeXML differs in a few attributes. Pure.

Source: www.twilio.com/docs/voice/twiml (Play, Gather, Record, Redirect, Hangup);
developers.telnyx.com/docs/voice/programmable-voice/texml-verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

from nightbell.core.carriers import EndCall, Gather, GoOn, PlayClip, RecordCall, Verb


def document(verbs: tuple[Verb, ...], recording: Mapping[str, str]) -> str:
    """recording: attributes of <Record> that only this provider has."""
    root = Element("Response")
    for verb in verbs:
        _add(root, verb, recording)
    return '<?xml version="1.0" encoding="UTF-8"?>' + tostring(root, encoding="unicode")


def _add(root: Element, verb: Verb, recording: Mapping[str, str]) -> None:
    if isinstance(verb, PlayClip):
        SubElement(root, "Play").text = verb.url
    elif isinstance(verb, Gather):
        gather = SubElement(
            root, "Gather", input="dtmf", action=verb.action, method="POST", timeout=str(max(1, verb.seconds)),
            numDigits=str(verb.most), finishOnKey="#" if verb.pound else "",
        )  # fmt: skip
        for url in verb.urls:
            SubElement(gather, "Play").text = url
    elif isinstance(verb, RecordCall):
        # The provider's own beep: the recording begins with it, and not a round trip after our tone.
        common = {
            "action": verb.action, "method": "POST", "finishOnKey": "#", "maxLength": str(max(1, verb.seconds)),
            "timeout": str(verb.silence), "playBeep": "true", "recordingStatusCallback": verb.callback,
            "recordingStatusCallbackMethod": "POST",
        }  # fmt: skip
        SubElement(root, "Record", {**common, **recording})
    elif isinstance(verb, GoOn):
        SubElement(root, "Redirect", method="POST").text = verb.url
    elif isinstance(verb, EndCall):
        SubElement(root, "Hangup")
