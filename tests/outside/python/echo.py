"""Talks to an echo server with the package `websockets` and compares what comes back.

Usage: python echo.py ws://HOST:PORT/ws plain|compressed, the latter where the server is to compress. Ends with 1 and one line
that says what differs, or what did not come within a minute.
"""

import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

LIMIT = 1024 * 1024
PATIENCE = 60
MANY = 5000


class Mismatch(Exception):
    pass


def expect(what, found, wanted):
    if found != wanted:
        raise Mismatch(f"{what}: {short(found)} in place of {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({len(value)} long)"


def opened(address, **options):
    socket = connect(address, open_timeout=PATIENCE, close_timeout=PATIENCE, max_size=2 * LIMIT, **options)
    names = [extension.name for extension in socket.protocol.extensions]
    expect("what was agreed on", names, ["permessage-deflate"] if sys.argv[2] == "compressed" else [])
    return socket


def messages_come_back(address):
    with opened(address) as socket:
        for message in ["hi", "", "é€🦀", '{"a":1}' * 99, "é" * 5000, b"\x00\x01\xff", b"", "x" * LIMIT, b"y" * LIMIT]:
            socket.send(message)
            expect("the echo", socket.recv(PATIENCE), message)


def a_byte_too_many_closes(address):
    for message in ["x" * (LIMIT + 1), b"y" * (LIMIT + 1)]:
        with opened(address) as socket:
            try:
                socket.send(message)
                expect("a message over the limit", socket.recv(PATIENCE), "a close")
            except ConnectionClosed as closed:
                expect("the close after a message over the limit", closed.rcvd and closed.rcvd.code, 1009)


def a_ping_is_answered(address):
    with opened(address) as socket:
        # Set by a pong with the same payload only.
        answered = socket.ping(b"are you there")
        expect("the answer to a ping", answered.wait(PATIENCE), True)


def closes_are_answered_with_their_own_code(address):
    for code, reason in [(1000, ""), (1001, "going"), (3001, "é"), (4999, "x" * 123)]:
        with opened(address) as socket:
            socket.close(code, reason)
            answer = socket.protocol.close_rcvd
            expect(f"the answer to close {code}", answer and (answer.code, answer.reason), (code, reason))


def an_offered_subprotocol_is_left(address):
    with opened(address, subprotocols=["chat", "b"]) as socket:
        expect("the subprotocol", socket.subprotocol, None)
        socket.send("hi")
        expect("the echo without a subprotocol", socket.recv(PATIENCE), "hi")


def many_messages_come_back_in_order(address):
    with opened(address) as socket:
        # On a thread, since a server that is not read from stops reading.
        sender = threading.Thread(target=lambda: [socket.send(str(n)) for n in range(MANY)])
        sender.start()
        for n in range(MANY):
            expect("the next of many", socket.recv(PATIENCE), str(n))
        sender.join()


CHECKS = [
    messages_come_back,
    a_byte_too_many_closes,
    a_ping_is_answered,
    closes_are_answered_with_their_own_code,
    an_offered_subprotocol_is_left,
    many_messages_come_back_in_order,
]

for check in CHECKS:
    try:
        check(sys.argv[1])
    except Exception as error:
        sys.exit(f"{check.__name__}: {type(error).__name__}: {error}")
