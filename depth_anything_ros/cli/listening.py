"""The addresses that web pages listen on."""

import ipaddress
import os
import socket


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
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach this address."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
