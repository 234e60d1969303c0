"""The addresses that web pages listen on, and the requests that they answer."""

import ipaddress
import os
import socket
from urllib.parse import urlsplit


def listening_port(host: str, port: int) -> int:
    """
    Return ``port``, or a free one for 0; OSError if this machine cannot listen on it.

    Web servers tell that in ways of their own: they try the next ports, or never return.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as trial:
            return int(trial.getsockname()[1])
    except (OSError, OverflowError, UnicodeError) as error:
        number = getattr(error, 'errno', None) or 0
        reason = os.strerror(number) if number > 0 else error
        raise OSError(f'{host}:{port} cannot be listened on ({reason}); choose another --port, '
                      'or an address of this machine as --host') from error


def page_address(host: str, port: int) -> str:
    """Return the address of a page for a browser."""
    return f'http://{host_in_address(host)}:{port}'


def host_in_address(host: str) -> str:
    """Return a host as it is written in an address: IPv6 in brackets."""
    return f'[{host}]' if ':' in host else host


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach this address."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def request_fault(listening: str, host: str, origin: str | None) -> str:
    """
    Return why a page on the address ``listening`` must not answer a request, '' if it may.

    ``host`` and ``origin`` are headers of the request. Browsers send requests and open WebSockets
    for any site that a person visits: ``origin`` is that site. A site whose name is made to point
    at this machine has that name as ``host``, so a page on a loopback address has no other names.
    """
    if is_loopback(listening) and not is_loopback(_part(f'//{host}', 'hostname')):
        return f'this page is not {host}; open it as localhost'
    if origin is not None and _part(origin, 'netloc').lower() != host.lower():
        return f'pages of {origin} must not use this one; open it in a tab of its own'
    return ''


def _part(url: str, name: str) -> str:
    try:
        return getattr(urlsplit(url), name) or ''
    except ValueError:
        return ''
