"""Addresses of web pages."""

import socket

from depth_anything_ros.cli.listening import (
    is_loopback, listening_port, page_address, request_fault)
import pytest


def test_a_port_that_cannot_be_listened_on_is_named_with_the_remedy() -> None:
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=(
                f'127.0.0.1:{port} cannot be listened on .Address already in use.; .*--port')):
            listening_port('127.0.0.1', port)
    assert listening_port('127.0.0.1', port) == port
    assert listening_port('localhost', 0) > 0
    for host in ('203.0.113.7', 'no such host', ''.join('x' for _ in range(80))):
        with pytest.raises(OSError, match=r'cannot be listened on .*--host'):
            listening_port(host, 0)


def test_an_ipv6_address_is_in_brackets() -> None:
    assert page_address('::1', 80) == 'http://[::1]:80'
    assert page_address('robot', 8080) == 'http://robot:8080'


@pytest.mark.parametrize(('host', 'expected'), [
    ('127.0.0.1', True), ('::1', True), ('localhost', True), ('0.0.0.0', False),
    ('192.168.1.5', False), ('robot', False)])
def test_only_this_machine_reaches_a_loopback_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(('listening', 'host', 'origin'), [
    ('127.0.0.1', '127.0.0.1:8080', None),
    ('127.0.0.1', 'localhost:9000', 'http://localhost:9000'),
    ('localhost', '[::1]:8080', 'http://[::1]:8080'),
    ('0.0.0.0', 'robot:8080', 'http://ROBOT:8080'),
    ('0.0.0.0', 'robot', 'https://robot')])
def test_a_page_answers_those_who_open_it(listening: str, host: str, origin: str | None) -> None:
    assert request_fault(listening, host, origin) == ''


@pytest.mark.parametrize(('listening', 'host', 'origin', 'fault'), [
    ('127.0.0.1', 'rebound.example:8080', None, 'this page is not rebound.example:8080; open it'),
    ('127.0.0.1', 'rebound.example:8080', 'http://rebound.example:8080', 'this page is not'),
    ('127.0.0.1', '', None, 'this page is not'),
    ('127.0.0.1', '[', None, 'this page is not'),
    ('127.0.0.1', 'localhost:8080', 'http://evil.example', 'pages of http://evil.example must'),
    ('127.0.0.1', 'localhost:8080', 'http://localhost:3000', 'pages of http://localhost:3000'),
    ('0.0.0.0', 'robot:8080', 'http://evil.example', 'pages of http://evil.example must not'),
    ('0.0.0.0', 'robot:8080', 'http://[', 'pages of'),
    ('0.0.0.0', 'robot:8080', 'null', 'pages of null must not use this one; open it in a tab')])
def test_a_page_does_not_answer_pages_of_other_sites(
        listening: str, host: str, origin: str | None, fault: str) -> None:
    assert request_fault(listening, host, origin).startswith(fault)
