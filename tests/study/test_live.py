"""A report that is served while it grows, to this machine alone."""

import http.client
import http.server
import os
import threading

import pytest

from jaxpeft.errors import InputError
from jaxpeft.study import live
from jaxpeft.study.progress import Progress


@pytest.fixture
def built(monkeypatch):
    """Builds write how many runs there are, and are counted by whoever waits for one."""
    made = threading.Semaphore(0)

    def build(folder):
        (folder / "report").mkdir(exist_ok=True)
        (folder / "report" / "index.html").write_text(f"{len(list(folder.glob('runs/*/result.json')))} runs")
        made.release()

    monkeypatch.setattr(live, "build", build)
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 0.01)
    return made


def asked(address, host="localhost"):
    connection = http.client.HTTPConnection("127.0.0.1", int(address.split(":")[2].split("/")[0]), timeout=10)
    connection.request("GET", "/index.html", headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def test_it_grows_with_the_study_and_then_stays(built, tmp_path, capsys):
    report = live.LiveReport(tmp_path, 0, Progress([]))
    with report:
        assert built.acquire(timeout=10)
        status, text, headers = asked(report.address)
        assert (status, text) == (200, "0 runs")
        assert "Refresh" in headers
        (tmp_path / "runs" / "a").mkdir(parents=True)
        (tmp_path / "runs" / "a" / "result.json").write_text("{}")
        assert built.acquire(timeout=10)
        assert asked(report.address)[1] == "1 runs"
    assert "Refresh" not in asked(report.address)[2]
    report._server.shutdown()
    report.stay()
    assert capsys.readouterr().out.count(report.address) == 2


@pytest.mark.parametrize("trouble", [InputError("unreadable"), FileNotFoundError("removed")])
def test_what_could_not_be_shown_is_shown_at_the_next_look(built, tmp_path, monkeypatch, trouble):
    troubles, build = [trouble], live.build

    def troubled(folder):
        if (folder / "runs").exists() and troubles:
            raise troubles.pop()
        build(folder)

    monkeypatch.setattr(live, "build", troubled)
    report = live.LiveReport(tmp_path, 0, Progress([]))
    with report:
        assert built.acquire(timeout=10)
        (tmp_path / "runs" / "a").mkdir(parents=True)
        (tmp_path / "runs" / "a" / "result.json").write_text("{}")
        assert built.acquire(timeout=10)
        assert asked(report.address)[1] == "1 runs"
    report._server.shutdown()
    report.stay()


def test_a_failure_that_is_another_one_by_now_is_news(tmp_path):
    (tmp_path / "failed").mkdir()
    report, path = live.LiveReport.__new__(live.LiveReport), tmp_path / "failed" / "a.json"
    report._folder = tmp_path
    path.write_text("{}")
    before = report._state()
    os.utime(path, ns=(1, 1))
    assert report._state() != before


def test_other_names_of_this_machine_are_refused(built, tmp_path):
    with live.LiveReport(tmp_path, 0, Progress([])) as report:
        assert report.address.startswith("http://127.0.0.1:")
        for host, status in (("127.0.0.1:80", 200), ("localhost:80", 200), ("evil.example:80", 403), ("", 403)):
            assert asked(report.address, host)[0] == status
    report._server.shutdown()
    report.stay()


def test_a_port_that_is_taken_is_told(tmp_path):
    with (
        http.server.HTTPServer(("127.0.0.1", 0), None) as taken,
        pytest.raises(InputError, match=r"--port=.*name another"),
    ):
        live.LiveReport(tmp_path, taken.server_port, Progress([]))
