"""The web server of the page: where it listens, its temporary files, its end."""

from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
import logging
import os
from pathlib import Path
import tempfile
from typing import Any

from depth_anything_ros.app.models import find_devices, find_models, ModelChoice, ModelSlot
from depth_anything_ros.app.visitor_files import VisitorFiles
from depth_anything_ros.cli.listening import (
    host_in_address, is_loopback, listening_port, page_address, request_fault)
from depth_anything_ros.cli.signals import deferred_signals
from depth_anything_ros.errors import line_of
from depth_anything_ros.inference.engine import EngineOptions
from depth_anything_ros.resources import photographs

# Open connections are closed after this time [s].
_END_S = 1
# Visitors whose last depth is kept in memory.
_MOST_RESULTS = 16
# Gradio would report its use, and ask for its newest version.
_ENVIRONMENT = {'GRADIO_ANALYTICS_ENABLED': 'False', 'HF_HUB_DISABLE_TELEMETRY': '1',
                'GRADIO_NUM_WORKERS': '0', 'OTEL_SDK_DISABLED': 'true'}


@dataclass(frozen=True)
class AppOptions:
    """The options of the page; ``choice`` is the model that it starts with."""

    choice: ModelChoice
    models: Path = Path('models')
    host: str = '127.0.0.1'
    port: int = 7860
    max_upload_mb: int = 1000


def serve(options: AppOptions) -> int:
    """
    Show the page until SIGINT, SIGTERM or SIGHUP and return the exit status for that signal.

    DepthAnythingError if the model cannot run, OSError if the port cannot be opened.
    """
    port = listening_port(options.host, options.port)
    models = find_models(options.models, options.choice.path)
    with tempfile.TemporaryDirectory(prefix='depth_anything_app-') as name, \
            closing(ModelSlot()) as slot:
        folder = Path(name)
        os.environ.update(_ENVIRONMENT, GRADIO_TEMP_DIR=str(folder / 'gradio'))
        _reach_directly('localhost', '127.0.0.1', options.host)
        with slot.use(options.choice, EngineOptions.image_hw):
            pass
        from depth_anything_ros.app.page import make_page, Page
        files = VisitorFiles(folder)
        page = Page(slot, options.choice, models, find_devices(), files,
                    is_loopback(options.host))
        blocks = make_page(page)
        logging.getLogger('uvicorn.error').addFilter(_without_traceback)
        with deferred_signals() as stop, files.removed_when_old():
            try:
                _launch(blocks, options, port)
                print(f'{page_address(options.host, port)} shows the page; Ctrl-C ends it',
                      flush=True)
                stop.event.wait()
            finally:
                page.end()
                # Open pages keep connections; to close them is no error.
                logging.getLogger('uvicorn.error').setLevel(logging.CRITICAL)
                if blocks.is_running:
                    blocks.server.config.timeout_graceful_shutdown = _END_S
                    blocks.close(verbose=False)
    return stop.exit_status


def _launch(blocks: Any, options: AppOptions, port: int) -> None:
    """Start the server in threads of its own; OSError if nobody reaches it."""
    from depth_anything_ros.app.page import PLAIN
    try:
        blocks.launch(
            server_name=host_in_address(options.host), server_port=port, share=False, quiet=True,
            prevent_thread_lock=True, ssr_mode=False, pwa=False, mcp_server=False,
            run_history=False, enable_monitoring=False, footer_links=[],
            max_file_size=f'{options.max_upload_mb}mb', state_session_capacity=_MOST_RESULTS,
            allowed_paths=[str(photographs())], theme=PLAIN,
            app_kwargs={'middleware': [(_OwnRequests, (), {'host': options.host})]})
    except Exception as error:  # noqa: B902 - Gradio requests its own page, and has many reasons
        if not blocks.is_running:
            # Another program may have taken the port while the model was loaded.
            listening_port(options.host, port)
        raise OSError(f'{page_address(options.host, port)} does not answer this program '
                      f'({line_of(error)}); choose another --port, or an address of this machine '
                      'as --host') from error


class _OwnRequests:
    """Answers requests that ``request_fault`` refuses with 403, others by ``app``."""

    def __init__(self, app: Any, host: str) -> None:
        self._app = app
        self._host = host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request by the ASGI."""
        if scope['type'] == 'http':
            headers = {name: value.decode('latin-1') for name, value in scope['headers']}
            fault = request_fault(self._host, headers.get(b'host', ''), headers.get(b'origin'))
            if fault:
                await send({'type': 'http.response.start', 'status': HTTPStatus.FORBIDDEN,
                            'headers': [(b'content-type', b'text/plain; charset=utf-8')]})
                await send({'type': 'http.response.body', 'body': fault.encode()})
                return
        await self._app(scope, receive, send)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Shorten the traceback of Gradio for a request that it does not understand to one line."""
    if record.exc_info and record.exc_info[1]:
        record.msg, record.args = f'a request failed: {line_of(record.exc_info[1])}', ()
        record.exc_info = None
    return True


def _reach_directly(*hosts: str) -> None:
    """Let Gradio's first request to its own page not go through a proxy."""
    for name in ('NO_PROXY', 'no_proxy'):
        os.environ[name] = ','.join(filter(None, (os.environ.get(name), *hosts)))
