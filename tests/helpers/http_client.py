"""A client of the dashboard's web server."""

from __future__ import annotations

import http.client
import json

Answer = tuple[int, dict[str, str], bytes]


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers={"Accept-Encoding": "identity", **named})
        response = connection.getresponse()
        answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        connection.close()
        return answer

    def studies(self, **headers: str) -> list[str]:
        found = json.loads(self("/api/studies", **headers)[2])["study_summaries"]
        return [study["study_name"] for study in found]
