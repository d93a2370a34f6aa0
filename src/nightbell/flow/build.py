"""From a practice's plan to the graph of a call: which words, which keys, where each leads.

The order of a call comes from the prompt set's rules: 911 first, waiting is a way through, the call-back number
before the message, "saved" only after the recording is on disk.
"""

from __future__ import annotations

from nightbell.flow.clips import PRACTICE_NAME
from nightbell.flow.graph import (
    Ask,
    Choice,
    Closing,
    Digits,
    End,
    Graph,
    Hear,
    Node,
    Part,
    Query,
    Say,
    Take,
    Words,
)
from nightbell.flow.hours import Kind, Situation
from nightbell.flow.plan import MenuKey, Plan, greeting_of

NOTICE: Words = ("notice-recorded", "~150")
RESTS = (Kind.LUNCH, Kind.HOLIDAY, Kind.CLOSED, Kind.CLOSURE)
TROUBLE: Words = ("~300", "trouble", "~300")


class _Maker:
    """Collects the nodes of one graph."""

    def __init__(self, plan: Plan, situation: Situation, team: bool, caller: bool) -> None:
        self.plan, self.situation, self.team, self.caller = plan, situation, team, caller
        self.nodes: dict[str, Node] = {}

    def graph(self) -> Graph:
        plan = self.plan
        self._record_now()
        keys = {k.key: self._choice(k) for k in plan.keys}
        first = dict(keys)
        if len(plan.languages) > 1:
            first["2"] = Choice("language", (("language", "other"),))
            self.nodes["language"] = Say(("~400", "language-set", "~200"), "greeting")
        self.nodes["first"] = Ask(_first_words(plan), first, then="greeting")
        self.nodes["greeting"] = Ask(self._greeting(), keys, then="menu")
        self._menu(keys)
        trouble = (*TROUBLE, *(("~200", "trouble-call", "{second}") if plan.second else ()))
        return Graph(self.nodes, "first", "record-now", trouble)

    # The menu.

    def _menu(self, keys: dict[str, Choice]) -> None:
        words: list[str] = []
        for k in self.plan.keys:
            words += [k.stem, f"press-{k.key}", "~350"]
        words += ["menu-repeat", "press-9", "~350", "menu-wait"] if self.plan.keys else ["greeting-leave"]
        keys = keys | {"9": Choice("menu")}
        menu = tuple(words)
        # Twice without a key, or twice a key without a meaning, and the caller simply speaks.
        self.nodes["menu"] = Ask(("~300", *menu), keys, rounds=("menu-again",), wrong=("menu-wrong",))
        self.nodes["menu-again"] = Ask(
            ("no-key", "~200", "relay-welcome", "~300", *menu), keys, rounds=("no-key",), wrong=("no-key",)
        )
        self.nodes["menu-wrong"] = Ask(
            ("wrong-key", "~300", *menu), keys, rounds=("menu-again",), wrong=("no-key",)
        )
        self.nodes["no-key"] = Say(
            ("no-key-record", "~200", *NOTICE, "record-short", *self._spoken(), "~300"), "take", past="take"
        )
        if not self.plan.keys:  # a line without a menu: the greeting leads to the tone
            self.nodes["menu"] = Say(("~300",), self._way("free", False))

    def _choice(self, key: MenuKey) -> Choice:
        if key.does == "status":
            self._status()
            return Choice("status")
        urgent = key.urgency == "urgent"
        sets = (("urgency", key.urgency),) if key.urgency != "routine" else ()
        if key.mailbox:
            sets = (*sets, ("mailbox", key.mailbox))
        return Choice(self._way(key.asks, urgent), sets)

    # One way to a message, from the key to the end.

    def _way(self, asks: str, urgent: bool) -> str:
        """The first node of the way: urgent words, call-back number, notice, questions, review."""
        mark = "" if (asks, urgent) == ("free", False) else f".{asks}" + ("-urgent" if urgent else "")
        start = f"urgent{mark}" if urgent else f"callback{mark}" if self.plan.callback else f"notice{mark}"
        if start in self.nodes:
            return start
        self._message(asks, urgent, mark)
        after = f"notice{mark}"
        if self.plan.callback:
            after = self._callback(mark)
        if urgent:
            lead = ("urgent-lead", "~200") if self.team else ()
            self.nodes[start] = Say(("~400", *lead, "emergency-911-signs"), after)
        return start

    def _callback(self, mark: str) -> str:
        """The number to call back: the one that is seen, or one keyed in, read back and confirmed."""
        notice, enter, skip = f"notice{mark}", f"callback-enter{mark}", f"callback-skip{mark}"
        confirm, kept = f"callback-confirm{mark}", f"callback-kept{mark}"
        tries = {"then": confirm, "short": f"callback-short{mark}", "skip": skip, "note": "callback-entered"}
        self.nodes[enter] = Digits(("~300", "ask-callback"), **tries)
        self.nodes[f"callback-short{mark}"] = Digits(("number-short",), **tries)
        self.nodes[confirm] = Ask(
            ("~300", "you-entered", "~150", "{entered}", "~300", "confirm-number"),
            {"1": Choice(kept, (("callback", "entered"),)), "2": Choice(enter, (("callback-entered", ""),))},
            rounds=(f"callback-unsure{mark}",),
        )
        self.nodes[f"callback-unsure{mark}"] = Say(("number-skip",), notice, sets=(("callback", "unsure"),))
        # Who is asked question by question is asked for the number too; others say it in the message.
        asked = f"ask-number{mark}" if f"ask-number{mark}" in self.nodes else ""
        words = ("number-skip",) if not asked else ("thank-you",)
        self.nodes[skip] = Say(
            words, f"notice-number{mark}" if asked else notice, sets=(("callback", "skipped"),)
        )
        self.nodes[kept] = Say(("number-kept",), notice)
        first = f"callback{mark}"
        if not self.caller:
            self.nodes[first] = self.nodes[enter]
            return first
        self.nodes[first] = Ask(
            ("~300", "callback-seen", "~150", "{caller}", "~300", "callback-use", "press-1", "~300",
             "callback-other", "press-2"),
            {"1": Choice(notice, (("callback", "seen"),)), "2": Choice(enter)},
            rounds=(notice,),  # the number is seen anyway: nothing is lost by going on
            quick=True,
        )  # fmt: skip
        return first

    def _message(self, asks: str, urgent: bool, mark: str) -> None:
        """From the notice to the end."""
        other = ("~150", "record-other") if self.plan.for_other else ()
        notice, take = f"notice{mark}", f"take{mark}"
        after = f"review{mark}" if self.plan.review else "send"
        if asks in ("guided", "refill"):
            self._questions(asks, mark, after)
            return
        words = "record-full" if asks == "free" else "record-short"
        spoken = self._spoken() if not self.plan.callback else ()
        self.nodes[notice] = Say(("~200", *NOTICE, words, *other, *spoken, "~300"), take, past=take)
        self._take(take, after)
        self._review(urgent, mark, take)

    def _questions(self, asks: str, mark: str, after: str) -> None:
        """One question, one part of the recording."""
        last = ("ask-refill", Part.REFILL) if asks == "refill" else ("ask-reason", Part.REASON)
        questions = (("ask-name", Part.NAME), ("ask-dob", Part.BIRTH), last)
        name, number = f"{questions[0][0]}{mark}", f"ask-number{mark}"
        intro: Words = ("~200", "ask-intro", "~150", *NOTICE)
        first = name if self.caller or self.plan.callback else number
        self.nodes[f"notice{mark}"] = Say(intro, first, past=first)
        self.nodes[f"notice-number{mark}"] = Say(intro, number, past=number)
        self.nodes[number] = Say(
            ("ask-callback-spoken", "~200"), f"take-number{mark}", past=f"take-number{mark}"
        )
        self.nodes[f"take-number{mark}"] = Take(Part.NUMBER, name, name, "limit", guided=True)
        for at, (words, part) in enumerate(questions):
            take = f"take-{part.value}{mark}"
            is_last = at == len(questions) - 1
            following = after if is_last else f"{questions[at + 1][0]}{mark}"
            self.nodes[f"{words}{mark}"] = Say((words, "~200"), take, past=take)
            self.nodes[take] = Take(
                part, following, "silence" if is_last else following, "limit", guided=True
            )
        self._review("urgent" in mark, mark, "take-again")

    def _spoken(self) -> Words:
        """A hidden number must be said, or nobody can call back."""
        return () if self.caller else ("~150", "record-number")

    def _take(self, name: str, after: str, part: Part = Part.MESSAGE, again: bool = False) -> None:
        self.nodes[name] = Take(part, after, "silence", "limit", brief="brief", again=again)

    def _review(self, urgent: bool, mark: str, take: str) -> None:
        """What a caller may still do with what was said."""
        if not self.plan.review:
            return
        offer = () if urgent else ("review-urgent", "press-4", "~300")
        keys = {"1": Choice("send"), "2": Choice(f"hear{mark}"), "3": Choice(f"again{mark}")}
        if not urgent:
            keys["4"] = Choice("send", (("urgency", "urgent"),))
        review = f"review{mark}"
        self.nodes[review] = Ask(
            ("~300", "review-send", "press-1", "~300", "review-listen", "press-2", "~300", "review-again",
             "press-3", "~300", *offer, "review-hang-up"),
            keys,
            rounds=("send",),
        )  # fmt: skip
        self.nodes[f"hear{mark}"] = Hear(review)
        self.nodes[f"again{mark}"] = Say(("record-again", "~300"), f"retake{mark}", past=f"retake{mark}")
        self._take(f"retake{mark}", review, again=True)

    def _record_now(self) -> None:
        """Key 0, silence, and what every message may come to."""
        after = "review" if self.plan.review else "send"
        short = ("record-short", *self._spoken(), "~200") if not self.caller else ()
        self.nodes["record-now"] = Say(("~200", *NOTICE, *short), "take", past="take")
        self._take("take", after)
        self._review(False, "", "take")
        self.nodes["silence"] = Say(("silence-speak", "~300"), "take-again", past="take-again")
        self.nodes["take-again"] = Take(Part.MESSAGE, after, "silence-end", "limit")
        self.nodes["silence-end"] = End(Closing.SILENCE)
        more = ("record-more", "press-1", "~300", "review-hang-up")
        for name, words in (("limit", "time-up"), ("brief", "too-short")):
            self.nodes[name] = Ask((words, "~300", *more), {"1": Choice("more")}, rounds=("send",))
        self.nodes["more"] = Take(Part.MORE, after, "send", "limit")
        self.nodes["send"] = End(Closing.PROMISE)

    # How far is my message?

    def _status(self) -> None:
        leave = Choice(self._way("free", False))
        keys = {"1": Choice("worse", (("urgency", "urgent"), ("joins", "told"))), "2": leave}
        tries = {"then": "status-query", "short": "status-short", "skip": "status-none"}
        self.nodes["status"] = Digits(("~300", "status-number"), **tries)
        self.nodes["status-short"] = Digits(("number-short",), **tries)
        self.nodes["status-query"] = Query(
            ("one-moment",), {state: f"status-{state}" for state in _STATES}, "status-none"
        )
        for state, words in _STATES.items():
            worse = ("~300", "worse-offer", "press-1") if state != "done" else ()
            offered = keys if state != "done" else {"2": leave}
            self.nodes[f"status-{state}"] = Ask(
                ("~300", *words, *worse, "~300", "status-leave", "press-2"), offered, rounds=("status-bye",)
            )
        self.nodes["status-none"] = Say(("status-none", "~200"), leave.to)
        self.nodes["status-bye"] = End(Closing.STATUS)
        self.nodes["worse"] = Say(
            ("emergency-911-signs", "~250", *NOTICE, "worse-record", "~300"), "take-worse", past="take-worse"
        )
        self.nodes["take-worse"] = Take(Part.WORSE, "send-worse", "send-worse", "send-worse")
        self.nodes["send-worse"] = End(Closing.WORSE)

    def _greeting(self) -> Words:
        kind, plan = self.situation.kind, self.plan
        own = greeting_of(kind)
        words: list[str] = ["greeting-reached", PRACTICE_NAME, "~200", f"greeting-{kind.value}"]
        if all(plan.own(own, language) for language in plan.languages):
            words = [own]
        elif kind in (Kind.LUNCH, Kind.HOLIDAY) and self.situation.reopens is not None:
            words += ["~150", "{reopen}"]
        if kind is Kind.CLOSURE and self.situation.visits:
            words += ["~150", "greeting-closure-visit"]
        if kind in RESTS and self.team and any(k.urgency == "urgent" for k in plan.keys):
            words += ["~150", "greeting-on-call"]
        for line in plan.lines:
            words += ["~200", line]
        return tuple(words)


_STATES: dict[str, Words] = {
    "waiting": ("status-left", "{when}", "~250", "status-waiting"),
    "waiting_open": ("status-left", "{when}", "~250", "status-waiting-open"),
    "left": ("status-left", "{when}"),
    "heard": ("status-heard", "{when}"),
    "owned": ("status-owned",),
    "heard_owned": ("status-heard", "{when}", "~250", "status-owned"),
    "tried": ("status-tried", "{when}"),
    "done": ("status-done",),
}


def _first_words(plan: Plan) -> Words:
    other: Words = (
        "~250", "emergency-911@other", "~250", "language-offer@other", "press-2@other", "~500",
    )  # fmt: skip
    return ("~600", "emergency-911", *(other if len(plan.languages) > 1 else ("~250",)))


def graph(plan: Plan, situation: Situation, team: bool, caller: bool) -> Graph:
    """The graph of one call. team: somebody can be woken; caller: the caller's number is known."""
    return _Maker(plan, situation, team, caller).graph()


def studio() -> Graph:
    """Recording a clip by telephone: record, hear it, keep it. Without the key that keeps it nothing is kept."""
    review = (
        "~300", "studio-listen", "press-1", "~300", "studio-keep", "press-2", "~300", "review-again", "press-3",
    )  # fmt: skip
    keys = {"1": Choice("hear"), "2": Choice("keep", (("studio-keep", ""),)), "3": Choice("again")}
    nodes: dict[str, Node] = {
        "first": Say(("~600", "studio-record", "~300"), "take", past="take"),
        "take": Take(Part.MESSAGE, "review", "unkept", "review"),
        "review": Ask(review, keys, rounds=("unkept",)),
        "hear": Hear("review"),
        "again": Say(("record-again", "~300"), "retake", past="retake"),
        "retake": Take(Part.MESSAGE, "review", "unkept", "review", again=True),
        "keep": End(Closing.STUDIO),
        "unkept": End(Closing.UNKEPT),
    }
    return Graph(nodes, "first", "take", TROUBLE, closing=Closing.UNKEPT)


def busy(plan: Plan) -> Graph:
    """The short form of a full system: one prompt, one message."""
    nodes: dict[str, Node] = {
        "busy": Say(("~300", "busy-short", "~300"), "take", past="take", sets=(("short", ""),)),
        "take": Take(Part.MESSAGE, "send", "silence-end", "send"),
        "send": End(Closing.BUSY),
        "silence-end": End(Closing.SILENCE),
    }
    return Graph(nodes, "busy", "busy", TROUBLE)
