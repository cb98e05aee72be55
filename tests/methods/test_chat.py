"""The client of chat endpoints against a server on this machine that fails in the ways that servers fail."""

import json
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scrutiny.core.errors import InputError, NotApplicable
from scrutiny.methods.annotation.chat import LONGEST_WAIT, MAX_BYTES, HttpClient

KEY = "not-a-real-key-1234"


def completion(text):
    return 200, {}, json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.fixture
def server():
    """A server that gives its ``answers`` in turn, the last for ever; each is status, headers and body, or a function of the handler."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            owner.seen.append((self.path, body, dict(self.headers)))
            answer = owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0]
            if callable(answer):
                answer(self)
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *args):
            pass

    owner = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    owner.daemon_threads = True
    owner.seen, owner.answers = [], [completion("B cell")]
    owner.url = f"http://127.0.0.1:{owner.server_port}/v1"
    thread = threading.Thread(target=owner.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield owner
    owner.shutdown()
    owner.server_close()


@pytest.fixture
def client(server, monkeypatch):
    """A client whose waits are noted and not waited."""

    def make(**options):
        made = HttpClient(server.url, "a-model", **{"requests_per_minute": 1e9, "timeout": 5, **options})
        made.waits = []
        made.sleep = made.waits.append
        return made

    return make


def test_the_answer_comes_from_the_endpoint_with_the_key_of_the_variable(server, client, monkeypatch):
    monkeypatch.setenv("A_KEY_FOR_TESTS", KEY)
    made = client(key_variable="A_KEY_FOR_TESTS", temperature=0.3)
    assert made.ask("Which?", sample=0) == "B cell"
    (path, body, headers), = server.seen
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "a-model", "temperature": 0.3, "messages": [{"role": "user", "content": "Which?"}]}
    assert KEY not in repr(made.__dict__) and KEY not in json.dumps(dict(made.identity)), "the key is kept nowhere"


def test_a_key_that_is_not_set_is_told_before_anything_is_sent(server, client, monkeypatch):
    monkeypatch.delenv("A_KEY_FOR_TESTS", raising=False)
    with pytest.raises(NotApplicable, match="A_KEY_FOR_TESTS"):
        client(key_variable="A_KEY_FOR_TESTS").check_ready()
    client().check_ready()
    assert not server.seen


def test_failures_are_tried_again_with_growing_waits_that_differ(server, client):
    server.answers = [(503, {}, b""), (500, {}, b""), (502, {}, b""), completion("T cell")]
    made = client()
    assert made.ask("Which?", sample=0) == "T cell" and len(server.seen) == 4
    assert all(0.5 * 2**i <= wait <= 1.5 * 2**i for i, wait in enumerate(made.waits)) and len(made.waits) == 3


def test_the_wait_that_the_server_asks_for_is_kept_as_seconds_or_a_date_within_reason(server, client):
    later = formatdate(time.time() + 20, usegmt=True)
    server.answers = [(429, {"Retry-After": after}, b"") for after in ("7", later, "86400", "soon")] + [completion("T cell")]
    made = client()
    made.ask("Which?", sample=0)
    assert made.waits[0] == 7 and 15 < made.waits[1] <= 20 and made.waits[2] == LONGEST_WAIT
    assert 4 <= made.waits[3] <= 12, "what is no time is left to our own backoff"


def test_tries_come_to_an_end_and_the_last_reason_is_told(server, client):
    server.answers = [(503, {}, b"")]
    with pytest.raises(InputError, match="no answer in 3 tries; the last: status 503"):
        client(tries=3).ask("Which?", sample=0)
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again_and_says_nothing_of_the_body(server, client, status, monkeypatch):
    monkeypatch.setenv("A_KEY_FOR_TESTS", KEY)
    server.answers = [(status, {}, f"bad key {KEY}".encode())]
    with pytest.raises(InputError, match=f"refused with status {status}") as caught:
        client(key_variable="A_KEY_FOR_TESTS").ask("Which?", sample=0)
    assert KEY not in str(caught.value) and len(server.seen) == 1


def test_a_redirect_is_not_followed_with_the_key(server, client, monkeypatch):
    monkeypatch.setenv("A_KEY_FOR_TESTS", KEY)
    server.answers = [(302, {"Location": f"{server.url}/elsewhere"}, b"")]
    with pytest.raises(InputError, match="refused with status 302"):
        client(key_variable="A_KEY_FOR_TESTS").ask("Which?", sample=0)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>busy</html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"[" * 100_000, b"\xff\xfe"],
)
def test_garbage_is_tried_again(server, client, body):
    server.answers = [(200, {}, body), completion("T cell")]
    assert client().ask("Which?", sample=0) == "T cell"


def test_a_response_without_end_is_cut(server, client):
    server.answers = [(200, {}, b" " * (2 * MAX_BYTES)), completion("T cell")]
    assert client().ask("Which?", sample=0) == "T cell"


def test_a_server_that_stalls_or_drips_meets_the_deadline(server, client):
    def stall(handler):
        time.sleep(0.6)

    def drip(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(20):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    server.answers = [stall, drip, completion("T cell")]
    started = time.monotonic()
    assert client(timeout=0.25).ask("Which?", sample=0) == "T cell"
    assert time.monotonic() - started < 2


def test_a_server_that_is_not_there_is_told():
    client = HttpClient("http://127.0.0.1:9", "m", tries=2, timeout=1)
    client.sleep = lambda seconds: None
    with pytest.raises(InputError, match="no answer in 2 tries"):
        client.ask("Which?", sample=0)


def test_no_more_requests_than_allowed(server, client):
    made = client(requests_per_minute=30)
    now = [0.0]
    made.clock = lambda: now[0]
    made.sleep = lambda seconds: (made.waits.append(seconds), now.__setitem__(0, now[0] + seconds))
    for _ in range(3):
        made.ask("Which?", sample=0)
    assert made.waits == [2.0, 2.0], "the first at once, then one in two seconds"


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://x", "model": "m"},
        {"url": "http://x"},
        {"url": "file:///etc/passwd", "model": "m"},
        {"url": "https://me:secret@x", "model": "m"},
        {"url": "http://x", "model": "m", "tries": 0},
    ],
)
def test_odd_options_are_refused(options):
    with pytest.raises(InputError) as caught:
        HttpClient(**options)
    assert "secret" not in str(caught.value)
