"""Serves the report of a study to browsers on this machine while the study grows."""

import contextlib
import functools
import http.server
import threading
from pathlib import Path
from typing import Any

from jaxpeft.errors import InputError
from jaxpeft.study.progress import Progress
from jaxpeft.study.report import build

SECONDS_BETWEEN_LOOKS = 10.0  # at what has finished; a browser asks as often
HOSTS = ("127.0.0.1", "localhost")  # under another name a page of anybody's could have a browser read the report


class LiveReport:
    """The report, made again as runs finish inside the block, and served until `stay` ends.

    To this machine alone: a report may be of a hospital's data. Raises InputError where the port is taken.
    """

    def __init__(self, folder: Path, port: int, progress: Progress):
        self._folder, self._progress = folder, progress
        self._over = threading.Event()
        self._shown: set[tuple[Path, int]] = set()  # the state of the report as it is
        handler = functools.partial(_Handler, self._over, directory=str(folder / "report"))
        try:
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise InputError(f"--port={port}: {error.strerror}; name another") from None
        self.address = f"http://127.0.0.1:{self._server.server_port}/index.html"
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._server.serve_forever, self._grow)]

    def __enter__(self) -> "LiveReport":
        self._shown = self._state()
        build(self._folder)
        for thread in self._threads:
            thread.start()
        self._progress.say(f"report: {self.address}, while the study runs")
        return self

    def __exit__(self, *error: object) -> None:
        """The study is over: the report is the caller's to make a last time."""
        self._over.set()
        self._threads[1].join()
        if any(error):
            self._server.shutdown()
            self._server.server_close()

    def stay(self) -> None:
        """Serves on, until Ctrl-C."""
        self._progress.say(f"report: {self.address}, until Ctrl-C")
        with self._server, contextlib.suppress(KeyboardInterrupt):
            self._threads[0].join()

    def _grow(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN_LOOKS):
            if (state := self._state()) != self._shown:
                with contextlib.suppress(InputError, OSError):  # written or removed meanwhile: there is a next time
                    build(self._folder)
                    self._shown = state

    def _state(self) -> set[tuple[Path, int]]:
        """What a report is made of, and when each was written."""
        files = (*self._folder.glob("runs/*/result.json"), *self._folder.glob("failed/*.json"))
        found = set()
        for path in files:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found.add((path, path.stat().st_mtime_ns))
        return found


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files of one folder; a page asks to be loaded again until the study is over."""

    def __init__(self, over: threading.Event, *arguments: Any, directory: str):
        self._over = over
        super().__init__(*arguments, directory=directory)

    def parse_request(self) -> bool:
        """Refuses who asks for another host than this one."""
        if not super().parse_request():
            return False
        if self.headers.get("Host", "").partition(":")[0] in HOSTS:
            return True
        self.send_error(http.HTTPStatus.FORBIDDEN)
        return False

    def end_headers(self) -> None:
        """Adds when to ask again."""
        self.send_header("Cache-Control", "no-store")
        if not self._over.is_set():
            self.send_header("Refresh", f"{SECONDS_BETWEEN_LOOKS:.0f}")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the terminal is the study's."""
