"""The server of viser answers for any site that a browser shows; here it refuses the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
import logging
from typing import Any

from depth_anything_ros.cli.listening import request_fault
from depth_anything_ros.errors import DepthAnythingError
import websockets.asyncio.server as websockets_server


@contextmanager
def own_requests_only(host: str) -> Iterator[None]:
    """
    Let the server of viser that starts in this block answer what ``request_fault`` names with 403.

    viser has no option for it. DepthAnythingError if it serves its page in another way.
    """
    serve, served = websockets_server.serve, []

    def guarded_serve(handler: Any, *address: Any, process_request: Any, **options: Any) -> Any:
        served.append(address)

        def process(connection: Any, request: Any) -> Any:
            host_header, origin = (', '.join(request.headers.get_all(name)) or None
                                   for name in ('Host', 'Origin'))
            fault = request_fault(host, host_header or '', origin)
            return (connection.respond(HTTPStatus.FORBIDDEN, fault) if fault
                    else process_request(connection, request))

        return serve(handler, *address, process_request=process, **options)

    # What a visitor sends that is no message of viser would be a traceback in the log.
    logging.getLogger('websockets.server').setLevel(logging.CRITICAL)
    websockets_server.serve = guarded_serve
    try:
        yield
    finally:
        websockets_server.serve = serve
    if not served:
        raise DepthAnythingError('this release of viser cannot refuse requests of other sites; '
                                 "install another one: pip install 'viser>=1.1,<2'")
