"""Access control for optuna-dashboard, which has none: host names, origins, token, read-only mode, safe headers."""

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
# Headers of every response: other pages cannot frame it, read it or learn its address.
SAFE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Headers of artifacts, whose content is not trusted: the browser saves them and never shows them as a page.
DOWNLOAD: Final = {
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class AccessControl:
    """WSGI middleware that refuses requests without the right host name, origin, token or method.

    hosts: allowed host names (protects against DNS rebinding). numeric: also allow IP addresses as host names.
    token: required in every request if set. write: allow requests that change the database.
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
        if not self._allowed(host):
            return answer("403 Forbidden", "this dashboard is not served under that name; see --allow-host")
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not _same(origin, host):
            return answer("403 Forbidden", "requests from other sites are refused")
        if self.token is not None:
            words = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
            given = [value for name, value in words if name == "token"]
            if given and self._fits(given[-1]):
                rest = urlencode([(name, value) for name, value in words if name != "token"])
                location = quote(environ.get("PATH_INFO", "")) or "/"
                location = "/" + location.lstrip("/") + (f"?{rest}" if rest else "")
                cookie = f"{self._cookie(environ)}={quote(given[-1], safe='')}; Path=/; HttpOnly; SameSite=Lax"
                return answer("303 See Other", "come in", ("Location", location), ("Set-Cookie", cookie))
            if not self._fits(self._shown(environ)):
                hint = "this dashboard asks for its token: open /?token=TOKEN, or send it as a bearer token"
                return answer("401 Unauthorized", hint, ("WWW-Authenticate", 'Bearer realm="weightsearch"'))
        if environ["REQUEST_METHOD"] not in READS and not self.write:
            return answer("403 Forbidden", "this dashboard is read-only; --write allows changes")
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard needs this key
        environ["wsgi.errors"] = io.StringIO()  # keeps tracebacks of bad requests off the terminal
        return self.app(environ, self._safe(environ, start_response))

    def _allowed(self, host: str) -> bool:
        name = _name(host)
        return name in self.hosts or (self.numeric and _is_address(name))

    def _fits(self, given: str) -> bool:
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def _shown(self, environ: dict[str, Any]) -> str:
        """The token of a request, from its header or cookie; empty if it has none."""
        scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer":
            return str(bearer.strip())
        for cookie in environ.get("HTTP_COOKIE", "").split(";"):  # cookies of other sites may be malformed
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
            remaining = [(name, value) for name, value in headers if name.lower() not in replaced]
            return start_response(status, [*remaining, *extra.items()], *more)

        return start


def is_loopback(host: str) -> bool:
    """Return True if a server that listens on `host` is reachable from this machine only."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def own_names(host: str) -> frozenset[str]:
    """Host names of this machine when it listens on `host`."""
    names = LOOPBACK | {host.lower()}
    return names if is_loopback(host) else names | {socket.gethostname().lower(), socket.getfqdn().lower()}


def _name(host: str) -> str:
    """Remove the port: `name:port` -> `name`, `[::1]:port` -> `::1`. The port is ignored: it may be a tunnel's."""
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
