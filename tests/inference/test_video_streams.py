"""Streams that break off: within a bounded time each break is a row, and what came before it is kept."""

import http.server
import socket
import threading
import time

import pytest

from mien.inference import video
from reading import frames


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(video.LIMITS, "wait_seconds", 0.0)
    monkeypatch.setattr(video.LIMITS, "open_seconds", 1.0)
    monkeypatch.setattr(video.LIMITS, "read_seconds", 1.0)


@pytest.fixture
def serve():
    """Start a web server that answers each request with the next of these functions, which write to the connection."""
    servers = []

    def start(*answers):
        left = list(answers)

        class Site(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                answer = left.pop(0) if left else None
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # a client that hangs up is part of the tests

        server = Server(("127.0.0.1", 0), Site)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/live"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def sending(content, length=None, wait=0.0):
    """Send this content, and state another length of it, or none; then wait and hang up."""

    def answer(site):
        site.send_response(200)
        site.send_header("Content-Type", "video/mp2t")
        if length:
            site.send_header("Content-Length", str(length))
        site.end_headers()
        site.wfile.write(content)
        site.wfile.flush()
        time.sleep(wait)

    return answer


@pytest.fixture
def recording(tmp_path, write_video):
    return write_video(tmp_path / "clip.ts", count=20, codec="libx264").read_bytes()


def test_a_stream_that_breaks_off_is_opened_again_and_goes_on(quick, serve, recording):
    found = list(frames(serve(sending(recording), sending(recording))))
    images, errors = [frame for frame in found if not frame.error], [frame for frame in found if frame.error]
    assert [frame.frame for frame in images] == list(range(40))
    times = [frame.time for frame in found if frame.time is not None]
    assert times == sorted(times)
    assert "broke off" in errors[0].error
    assert errors[0].frame == 20
    assert len(errors) == 2 + video.LIMITS.reconnections
    assert errors[-1].error.endswith("check the address and the network.")


def test_a_file_that_is_sent_in_part_only_is_a_break(quick, serve, recording):
    found = list(frames(serve(sending(recording[: len(recording) // 2], length=len(recording)))))
    assert sum(not frame.error for frame in found) >= 5
    assert "broke off" in next(frame.error for frame in found if frame.error)


def test_a_stream_that_falls_silent_is_a_break_after_the_time_out(quick, serve, recording):
    begin = time.monotonic()
    found = list(frames(serve(sending(recording, wait=8))))
    assert sum(not frame.error for frame in found) >= 15
    assert "broke off" in next(frame.error for frame in found if frame.error)
    assert time.monotonic() - begin < 7


def test_a_server_that_never_answers_is_an_error_after_the_time_out(quick, monkeypatch):
    monkeypatch.setattr(video.LIMITS, "reconnections", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        begin = time.monotonic()
        found = list(frames(f"http://127.0.0.1:{server.getsockname()[1]}/live"))
        assert time.monotonic() - begin < 6
    assert ["cannot be opened" in frame.error for frame in found] == [True, True]


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "srt"])
def test_streams_of_other_protocols_are_refused_in_time(quick, scheme):
    begin = time.monotonic()
    found = list(frames(f"{scheme}://127.0.0.1:9/live"))
    assert len(found) == video.LIMITS.reconnections + 1
    assert all("cannot be opened" in frame.error for frame in found)
    assert time.monotonic() - begin < 20
