"""Who may come in to the dashboard, and what may go out: optuna-dashboard itself asks nobody."""

from __future__ import annotations

import hmac
import io
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from weightsearch.errors import WeightsearchError

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Headers = list[tuple[str, str]]

READS: Final = ("GET", "HEAD")
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# Of every answer: no other page may frame it, read it or learn its address.
SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Of an artifact, which anybody who may write a study has written: a file to save, never a page of this origin.
DOWNLOAD: Final = {
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class AccessControl:
    """Wraps a WSGI application.

    hosts: names under which it may be addressed, so that no other site's name can be made to lead here (DNS rebinding).
    numeric: addresses in numbers are names too. token: asked for if set. write: requests that change something pass.
    """

    app: App
    hosts: frozenset[str] = LOOPBACK
    numeric: bool = False
    token: str | None = field(default=None, repr=False)
    write: bool = False

    def __post_init__(self) -> None:
        if self.token is not None and not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,}", self.token):
            raise WeightsearchError("the dashboard's token needs at least 16 characters, of A-Z a-z 0-9 . _ ~ + / = -")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def answer(status: str, reason: str, *headers: tuple[str, str]) -> Iterable[bytes]:
            body = f"{reason}\n".encode()
            length = ("Content-Length", str(len(body)))
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), length, *SAFE.items(), *headers])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

        host = environ.get("HTTP_HOST", "")
        if not self._known(host):
            return answer("403 Forbidden", "this dashboard is not served under that name; see --allow-host")
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not _same(origin, host):
            return answer("403 Forbidden", "requests from other sites are refused")
        if self.token is not None:
            words = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
            given = [value for name, value in words if name == "token"]
            if given and self._fits(given[-1]):
                rest = urlencode([(name, value) for name, value in words if name != "token"])
                place = quote(environ.get("PATH_INFO", "")) or "/"
                place = "/" + place.lstrip("/") + (f"?{rest}" if rest else "")
                kept = f"{self._cookie(environ)}={quote(given[-1], safe='')}; Path=/; HttpOnly; SameSite=Lax"
                return answer("303 See Other", "come in", ("Location", place), ("Set-Cookie", kept))
            if not self._fits(self._shown(environ)):
                hint = "this dashboard asks for its token: open /?token=TOKEN, or send it as a bearer token"
                return answer("401 Unauthorized", hint, ("WWW-Authenticate", 'Bearer realm="weightsearch"'))
        if environ["REQUEST_METHOD"] not in READS and not self.write:
            return answer("403 Forbidden", "this dashboard is read-only; --write allows changes")
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard takes it for granted
        environ["wsgi.errors"] = io.StringIO()  # what a bad request breaks in it is no use on the terminal
        return self.app(environ, self._safe(environ, start_response))

    def _known(self, host: str) -> bool:
        name = _name(host)
        return name in self.hosts or (self.numeric and _is_address(name))

    def _fits(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def _shown(self, environ: dict[str, Any]) -> str:
        """The token that a request brings, empty if it brings none."""
        scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer":
            return str(bearer.strip())
        for cookie in environ.get("HTTP_COOKIE", "").split(";"):  # others' cookies may be of any form
            name, _, value = cookie.strip().partition("=")
            if name == self._cookie(environ):
                return unquote(value)
        return ""

    def _cookie(self, environ: dict[str, Any]) -> str:
        return f"weightsearch_{environ['SERVER_PORT']}"  # browsers keep cookies by host, whatever the port

    def _safe(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Callable[..., Any]:
        extra = SAFE | (DOWNLOAD if environ.get("PATH_INFO", "").startswith("/artifacts/") else {})
        replaced = {name.lower() for name in extra} | {"access-control-allow-origin"}

        def start(status: str, headers: Headers, *more: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() not in replaced]
            return start_response(status, [*kept, *extra.items()], *more)

        return start


def is_loopback(host: str) -> bool:
    """True if only this machine can reach an address that a server listens on."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def own_names(host: str) -> frozenset[str]:
    """The names by which this machine is reached when it listens on `host`."""
    names = LOOPBACK | {host.lower()}
    return names if is_loopback(host) else names | {socket.gethostname().lower(), socket.getfqdn().lower()}


def _name(host: str) -> str:
    """`name:port`, `[::1]:port` -> the name alone. The port may be a tunnel's."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    try:
        sections = urlsplit(origin)
    except ValueError:
        return False
    return sections.scheme in ("http", "https") and sections.netloc.lower() == host.lower()
