"""A language model behind a chat endpoint of the usual form, over a network that fails: limits, retries, and one deadline a request."""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import numpy as np

from scrutiny.core.errors import InputError, NotApplicable

MAX_BYTES = 1_000_000
"""Of a response; more is not read."""
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Seconds between two tries: doubled each time, up to this, times a random factor from 0.5 to 1.5."""
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which it is worth trying again."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another place."""

    def redirect_request(self, *args: Any) -> None:
        return None


class _TryAgain(Exception):
    """A try that failed for now; ``wait`` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class HttpClient:
    """Any endpoint that takes ``POST {url}/chat/completions`` with a model and messages, as OpenAI's does.

    Parameters
    ----------
    url
        Up to and without ``/chat/completions``, http or https.
    model
        Name of the model.
    key_variable
        Name of the environment variable that holds the key; "": none is sent. The key itself is no option and is kept nowhere.
    temperature
        0 for the likeliest answer; several samples of one prompt need more.
    requests_per_minute
        At most, failed ones included.
    timeout
        Seconds for one request, from the first byte to the last.
    tries
        At most, for each answer.
    """

    sleep = staticmethod(time.sleep)
    clock = staticmethod(time.monotonic)

    def __init__(
        self,
        url: str = "",
        model: str = "",
        key_variable: str = "",
        temperature: float = 0.0,
        requests_per_minute: float = 60.0,
        timeout: float = 60.0,
        tries: int = 5,
    ) -> None:
        if not url.startswith(("http://", "https://")) or not model:
            raise InputError(f"the client 'http' needs a 'url' of http or https and a 'model'; found '{url}' and '{model}'")
        if urllib.parse.urlsplit(url).username is not None:
            raise InputError("the url holds a user name or key; name the environment variable that holds it as key_variable")
        if requests_per_minute <= 0 or timeout <= 0 or tries < 1:
            raise InputError("requests_per_minute and timeout must be above 0, tries at least 1")
        self.url, self.model, self.key_variable, self.temperature = url.rstrip("/"), model, key_variable, temperature
        self.pause, self.timeout, self.tries = 60 / requests_per_minute, timeout, tries
        self._next = 0.0
        self._opener = urllib.request.build_opener(_NoRedirects)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"url": self.url, "model": self.model, "temperature": self.temperature}

    def check_ready(self) -> None:
        if self.key_variable and not os.environ.get(self.key_variable):
            raise NotApplicable(f"the environment variable {self.key_variable}, which is to hold the key for {self.url}, is not set")

    def ask(self, prompt: str, *, sample: int) -> str:
        """The answer. Raises InputError if the server refuses, or fails as often as is tried."""
        self.check_ready()
        jitter, reason = np.random.default_rng(), ""
        for attempt in range(self.tries):
            self._wait_for_turn()
            try:
                return self._once(prompt)
            except _TryAgain as error:
                reason = str(error)
                backoff = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * (0.5 + float(jitter.random()))
                if attempt + 1 < self.tries:
                    self.sleep(min(error.wait, LONGEST_WAIT) if error.wait is not None else backoff)
        raise InputError(f"{self.url} gave no answer in {self.tries} tries; the last: {reason}")

    def _wait_for_turn(self) -> None:
        now = self.clock()
        if now < self._next:
            self.sleep(self._next - now)
        self._next = max(now, self._next) + self.pause

    def _once(self, prompt: str) -> str:
        body = {"model": self.model, "temperature": self.temperature, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(body).encode(), headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                return _answer_in(self._read(response))
        except urllib.error.HTTPError as error:
            with error:
                if error.code in AGAIN:
                    raise _TryAgain(f"status {error.code}", _retry_after(error.headers.get("Retry-After"))) from None
            raise InputError(f"{self.url} refused with status {error.code}; look at the options url, model and key_variable") from None
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgain(f"{type(error).__name__}: {getattr(error, 'reason', '') or error}") from None

    def _read(self, response: Any) -> bytes:
        """The body, within one deadline however slowly it drips, and up to `MAX_BYTES`."""
        deadline, parts, size = self.clock() + self.timeout, [], 0
        while part := response.read1(65_536):
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                raise _TryAgain(f"the response is longer than {MAX_BYTES:,} bytes")
            if self.clock() > deadline:
                raise _TryAgain(f"the response took longer than {self.timeout:g} s")
        return b"".join(parts)


def _answer_in(body: bytes) -> str:
    try:
        answer = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise _TryAgain("the response is no chat completion") from None
    if not isinstance(answer, str):
        raise _TryAgain("the response holds no text")
    return answer


def _retry_after(value: str | None) -> float | None:
    """Seconds that a server asks to wait, which it gives as such or as a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
