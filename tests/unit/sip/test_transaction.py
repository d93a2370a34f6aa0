import asyncio
import selectors

import pytest
import sipmessage
import sipua.transaction as oracle

from nightbell.sip.message import Request, parse
from nightbell.sip.transaction import (
    CLIENT_INVITE,
    CLIENT_OTHER,
    SERVER_INVITE,
    SERVER_OTHER,
    Action,
    AnswerRepeater,
    State,
    Timing,
    Transaction,
    merge_key,
    server_key,
)

SEND, ACK, TELL, TIMEOUT, END = Action.SEND, Action.ACK, Action.TELL, Action.TIMEOUT, Action.END


def run(machine: Transaction, until: float = 1000.0) -> list[tuple[float, Action]]:
    """Let time pass; every action with its time."""
    done = []
    while (at := machine.due()) is not None and at <= until:
        done += [(at, action) for action in machine.tick(at)]
    return done


def test_an_unanswered_invite_is_repeated_and_given_up() -> None:
    """RFC 3261 §17.1.1.2: at 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s; given up at 32 s."""
    machine = Transaction(CLIENT_INVITE, reliable=False)
    assert machine.handle("begin", 0.0) == [SEND]
    assert run(machine) == [
        *((at, SEND) for at in (0.5, 1.5, 3.5, 7.5, 15.5, 31.5)),
        (32.0, TIMEOUT),
        (32.0, END),
    ]


def test_an_unanswered_request_is_repeated_with_a_longest_interval() -> None:
    """RFC 3261 §17.1.2.2: 500 ms, 1 s, 2 s, 4 s, 4 s ..., 11 times in all."""
    machine = Transaction(CLIENT_OTHER, reliable=False)
    machine.handle("begin", 0.0)
    times = [at for at, action in run(machine) if action is SEND]
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert machine.state is State.TERMINATED


def test_a_provisional_answer_slows_a_request_down() -> None:
    machine = Transaction(CLIENT_OTHER, reliable=False)
    machine.handle("begin", 0.0)
    assert machine.handle("1xx", 0.1) == [TELL]
    assert [at for at, action in run(machine) if action is SEND] == [
        0.5,
        4.5,
        8.5,
        12.5,
        16.5,
        20.5,
        24.5,
        28.5,
    ]


def test_a_ringing_invite_is_neither_repeated_nor_given_up() -> None:
    machine = Transaction(CLIENT_INVITE, reliable=False)
    machine.handle("begin", 0.0)
    assert machine.handle("1xx", 0.2) == [TELL]
    assert machine.due() is None


def test_a_refused_invite_is_acknowledged_each_time_and_lingers() -> None:
    machine = Transaction(CLIENT_INVITE, reliable=False)
    machine.handle("begin", 0.0)
    assert machine.handle("3xx", 1.0) == [ACK, TELL]
    assert machine.handle("3xx", 2.0) == [ACK]
    assert run(machine) == [(33.0, END)]


def test_an_accepted_invite_tells_each_2xx() -> None:
    """RFC 6026 §8.4: timer M."""
    machine = Transaction(CLIENT_INVITE, reliable=False)
    machine.handle("begin", 0.0)
    assert [machine.handle("2xx", t) for t in (1.0, 2.0)] == [[TELL], [TELL]]
    assert run(machine) == [(33.0, END)]


def test_a_refusal_is_repeated_until_its_ack() -> None:
    machine = Transaction(SERVER_INVITE, reliable=False)
    assert machine.handle("3xx", 0.0) == [SEND]
    assert run(machine, 8.0) == [(at, SEND) for at in (0.5, 1.5, 3.5, 7.5)]
    assert machine.handle("invite", 8.0) == [SEND]
    assert machine.handle("ack", 9.0) == []
    assert machine.handle("ack", 9.5) == []
    assert run(machine) == [(14.0, END)]


def test_a_refusal_without_ack_is_given_up() -> None:
    machine = Transaction(SERVER_INVITE, reliable=False)
    machine.handle("3xx", 0.0)
    assert run(machine)[-2:] == [(32.0, TIMEOUT), (32.0, END)]


def test_a_repeated_invite_gets_the_last_provisional_answer_and_is_swallowed_after_200() -> None:
    machine = Transaction(SERVER_INVITE, reliable=False)
    assert machine.handle("1xx", 0.0) == [SEND]
    assert machine.handle("invite", 0.5) == [SEND]
    assert machine.handle("2xx", 1.0) == [SEND]
    assert machine.handle("invite", 1.5) == []
    assert machine.handle("3xx", 1.6) == []
    assert run(machine) == [(33.0, END)]


def test_a_server_repeats_its_final_answer_on_demand() -> None:
    machine = Transaction(SERVER_OTHER, reliable=False)
    assert machine.handle("request", 0.0) == []
    assert machine.handle("2xx", 0.1) == [SEND]
    assert machine.handle("request", 0.5) == [SEND]
    assert run(machine) == [(32.1, END)]


@pytest.mark.parametrize(
    ("table", "event"),
    [(CLIENT_INVITE, "3xx"), (CLIENT_OTHER, "2xx"), (SERVER_OTHER, "2xx"), (SERVER_INVITE, "3xx")],
)
def test_a_reliable_transport_needs_no_repeats_and_no_lingering(table: dict, event: str) -> None:
    machine = Transaction(table, reliable=True)
    machine.handle("begin", 0.0)
    machine.handle(event, 1.0)
    machine.handle("ack", 1.0)
    assert run(machine) == [(1.0, END)]


def test_a_late_loop_does_not_lose_the_end() -> None:
    machine = Transaction(CLIENT_OTHER, reliable=False)
    machine.handle("begin", 0.0)
    assert machine.tick(500.0)[-2:] == [TIMEOUT, END]


def test_a_200_is_repeated_until_acknowledged_or_given_up() -> None:
    """RFC 3261 §13.3.1.4."""
    repeater, times = AnswerRepeater(0.0), []
    while repeater.due_at is not None:
        at = repeater.due_at
        times.append((at, repeater.tick(at)))
    assert times == [
        *((at, SEND) for at in (0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)),
        (32.0, TIMEOUT),
    ]
    other = AnswerRepeater(0.0)
    other.acknowledged()
    assert other.tick(100.0) is None


class Jump(selectors.DefaultSelector):
    """Does not wait: the loop's clock jumps to its next timer, however busy the machine is."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list:
        self.now += timeout or 0.0
        return super().select(0)


class Wire:
    """Where the oracle sends: notes the time."""

    def __init__(self, layer: list) -> None:
        self.times = layer

    async def send_message(self, message: object) -> bool:
        self.times.append(asyncio.get_running_loop().time())
        return False


@pytest.mark.parametrize(("method", "table"), [("INVITE", CLIENT_INVITE), ("OPTIONS", CLIENT_OTHER)])
def test_its_client_timers_agree_with_another_implementation(method: str, table: dict) -> None:
    """sipua with the T1 and T2 of RFC 3261, against our table with the same values."""
    timing = Timing()
    assert (timing.t1, timing.t2) == (oracle.T1, oracle.T2)
    times: list[float] = []

    async def theirs() -> None:
        layer = oracle.TransactionLayer(transport_layer=Wire(times))
        request = sipmessage.Request(method=method, uri=sipmessage.URI.parse("sip:a@h"))
        request.via = [sipmessage.Via.parse("SIP/2.0/UDP h;branch=z9hG4bK1")]
        kind = oracle.ClientInviteTransaction if method == "INVITE" else oracle.ClientNonInviteTransaction
        machine = kind(request=request, transaction_layer=layer)
        layer._client_transactions[oracle.get_client_transaction_key(request)] = machine
        with pytest.raises(TimeoutError):
            await machine.run()

    jump = Jump()
    loop = asyncio.SelectorEventLoop(jump)
    loop.time = lambda: jump.now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(theirs())
    finally:
        loop.close()
    machine = Transaction(table, reliable=False, timing=timing)
    machine.handle("begin", 0.0)
    ours = [0.0] + [at for at, action in run(machine) if action is SEND]
    assert len(times) == len(ours)
    assert [t - times[0] for t in times] == pytest.approx(ours, abs=1e-6)


def request(text: str) -> Request:
    message = parse(text.replace("\n", "\r\n").encode())
    assert isinstance(message, Request)
    return message


PLAIN = "OPTIONS sip:a@h SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\nFrom: <sip:a@h>;tag=1\nTo: <sip:b@h>\nCall-ID: c\nCSeq: 1 OPTIONS\n\n"


def test_a_copy_by_another_way_is_another_transaction_of_the_same_request() -> None:
    one, other = request(PLAIN), request(PLAIN.replace("bKx", "bKy"))
    assert server_key(one) != server_key(other)
    assert merge_key(one) == merge_key(other)


def test_an_old_style_branch_does_not_merge_strangers() -> None:
    one, other = (
        request(PLAIN.replace("bKx", "bK")),
        request(PLAIN.replace("bKx", "bK").replace("ID: c", "ID: d")),
    )
    assert server_key(one) != server_key(other)
