"""Where an endpoint is and who may speak to it: URL, key, and the texts that must never be shown."""

from __future__ import annotations

import base64
import os
import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mtr_env.errors import InfrastructureError

OPENAI = "https://api.openai.com/v1"
_NO_KEY = "none"  # servers without keys want the header nevertheless
_MARK = "[hidden]"
_CREDENTIALS = re.compile(r"//[^/\s]*@")
_SECRET_LIKE = re.compile(r"(?i:\b(?:bearer|basic)\s+[^\s\"',;]+)|\b(?:sk|hf|gsk|xai|nvapi)[-_][\w*-]{6,}|//[^/\s@]+@")


class ModelError(InfrastructureError):
    """The endpoint could not answer, after the retries. The text holds no key, header or URL credentials."""


class Endpoint(NamedTuple):
    """A ``base_url`` taken apart: ``url`` is without its credentials, which are sent as a header instead. A ``key``
    that was given takes the place of the environment's."""

    url: str
    basic: str  # "user:password", or ""
    is_openai: bool
    key: str | None = None

    @classmethod
    def of(cls, base_url: str | None, key: str | None = None) -> Endpoint:
        """Raises ``ValueError``, which does not show the URL, when it cannot be one."""
        if base_url is None:
            return cls(OPENAI, "", True, key)
        try:
            parts = urlsplit(base_url.strip())
            port, host = parts.port, parts.hostname
        except ValueError:
            raise ValueError("base_url is not a URL; expected one such as 'http://127.0.0.1:8000/v1'.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("base_url begins with http:// or https:// and a host, such as 'http://127.0.0.1:8000/v1'.")
        if parts.query or parts.fragment:
            raise ValueError("base_url has no query or fragment; give a key through the environment variable.")
        place = f"[{host}]" if ":" in host else host
        place += f":{port}" if port else ""
        basic = ":".join(unquote(part or "") for part in (parts.username, parts.password)) if parts.username else ""
        url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        return cls(url, basic, url == OPENAI, key)

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown of a URL."""
        return (self.basic, *self.basic.partition(":")[::2]) if self.basic else ()

    def headers(self, key: str) -> dict[str, str]:
        """What identifies us to the endpoint; credentials in the URL win over the key, as in every HTTP client."""
        if self.basic:
            return {"Authorization": f"Basic {base64.b64encode(self.basic.encode()).decode()}"}
        return {"Authorization": f"Bearer {key}"}


def read_key(variable: str, endpoint: Endpoint) -> str:
    """The key of an endpoint: the one that was given, else the environment's. A server other than OpenAI's may do
    without.

    Raises :class:`ModelError` when the key is missing where one is needed, or cannot stand in a header.
    """
    key = (os.environ.get(variable, "") if endpoint.key is None else endpoint.key).strip()
    if not key and endpoint.is_openai:
        raise ModelError(
            f"No key: set the environment variable {variable} to your OpenAI key, or give another server's base_url."
        )
    if not (key.isascii() and key.isprintable()):
        where = f"The environment variable {variable}" if endpoint.key is None else "The api_key"
        raise ModelError(f"{where} holds characters that no key has; set it again.")
    return key or _NO_KEY


def without_credentials(text: str) -> str:
    """A text (a command, a setting) that may be kept: user and password of a URL in it are hidden.

    >>> without_credentials("--tool-base-url=http://bob:secret@10.0.0.1/v1")
    '--tool-base-url=http://[hidden]@10.0.0.1/v1'
    """
    return _CREDENTIALS.sub(f"//{_MARK}@", text)


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """A text of the server's without our secrets, or anything that looks like one; at most 300 characters."""
    for secret in secrets:
        for form in (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")):
            if form and secret != _NO_KEY:
                text = text.replace(form, _MARK)
    text = _SECRET_LIKE.sub(_MARK, " ".join(text.split()))
    return text if len(text) <= 300 else text[:299] + "…"
