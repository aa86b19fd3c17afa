"""The routes of the API and of its administration, and who may use them.

Everything here is synchronous: a request goes in, a ``Reply`` comes out, and ``delivery.py`` decides when its bytes
leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from app.domain.models import ModelFacts
from workers.simulator.errors import ApiError
from workers.simulator.exchange import Request, error_reply, json_reply
from workers.simulator.invoice import Invoice
from workers.simulator.journal import Entry, Journal
from workers.simulator.messages import Messages
from workers.simulator.models import load_models, model_info
from workers.simulator.schedule import Reply
from workers.simulator.script import ScriptBook
from workers.simulator.settings import SimulatorSettings

MESSAGES: Final = "/v1/messages"
KNOWN_VERSIONS: Final = frozenset({"2023-01-01", "2023-06-01", "2026-10-21"})


class Simulator:
    """The API's state (prompt cache, scripts, rate limits, journal, invoice) and its routes."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.journal = Journal(settings.journal, settings.journal_body_bytes)
        self.invoice = Invoice()
        self.scripts = ScriptBook(settings)
        self.models: Mapping[str, ModelFacts] = load_models()
        self._messages = Messages(settings, self.models, self.scripts)
        self._requests = 0

    def answer(self, request: Request, entry: Entry | None) -> Reply:
        """The reply to a request. Never raises; what is wrong with the request is the reply."""
        self._requests += 1
        request_id = f"req_sim{self._requests:020x}"
        try:
            reply = self._route(request, request_id, entry)
        except ApiError as error:
            reply = error_reply(error, request_id)
        refused = reply.bill is None and request.path == MESSAGES and request.method == "POST"
        if refused:
            self.invoice.refuse()
        if entry is not None:
            entry.status = 0 if reply.drop else reply.status
            entry.outcome = "refused" if refused else ""
        return reply

    def _route(self, request: Request, request_id: str, entry: Entry | None) -> Reply:
        match request.method, request.path:
            case "POST", path if path == MESSAGES:
                return self._messages.create(request, request_id, self._authenticate(request), entry)
            case "POST", "/v1/messages/count_tokens":
                return self._messages.count_tokens(request, request_id, self._authenticate(request))
            case "GET", "/v1/models":
                self._authenticate(request)
                return json_reply(self._model_page(parse_qs(request.query)), request_id)
            case "GET", path if path.startswith("/v1/models/"):
                self._authenticate(request)
                name = path.removeprefix("/v1/models/")
                return json_reply(model_info(name, self._messages.find_model(name)), request_id)
            case "GET", "/":
                return json_reply({"simulator": "claude-wrapper"}, request_id)
            case "HEAD", "/":
                return msgspec.structs.replace(json_reply({"simulator": "claude-wrapper"}, request_id), parts=())
            case _, path if path.startswith("/_simulator/"):
                return self._admin(request, request_id)
        if request.path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/models"):
            raise ApiError(405, "Method Not Allowed")
        raise ApiError(404, "Not found")

    def _model_page(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        names = list(self.models)
        wanted = query.get("lifecycle") or query.get("lifecycle[]")
        if wanted:
            names = [name for name in names if self.models[name].lifecycle in wanted]
        if "after_id" in query and query["after_id"][0] in names:
            names = names[names.index(query["after_id"][0]) + 1 :]
        elif "before_id" in query and query["before_id"][0] in names:
            names = names[: names.index(query["before_id"][0])]
        limit_text = query.get("limit", ["20"])[0]
        if not limit_text.isdigit() or not 1 <= int(limit_text) <= 1000:
            raise ApiError(400, "limit: Input should be between 1 and 1000")
        shown = names[: int(limit_text)]
        return {
            "data": [model_info(name, self.models[name]) for name in shown],
            "has_more": len(names) > len(shown),
            "first_id": shown[0] if shown else None,
            "last_id": shown[-1] if shown else None,
        }

    def _authenticate(self, request: Request) -> str:
        """The credential of a request with an acceptable key and version.

        Raises:
            ApiError: 401 or 400.
        """
        headers = request.headers
        credential = request.credential()
        if not credential:
            raise ApiError(401, "x-api-key header is required")
        keys = self.settings.keys
        if (credential not in keys) if keys else credential.startswith("invalid"):
            raise ApiError(401, "invalid x-api-key" if "x-api-key" in headers else "Invalid bearer token")
        version = headers.get("anthropic-version")
        if self.settings.validate and version not in KNOWN_VERSIONS:
            problem = "header is required" if version is None else f'"{version}" is not a valid version'
            raise ApiError(400, f"anthropic-version: {problem}")
        return credential

    def _admin(self, request: Request, request_id: str) -> Reply:
        match request.method, request.path.removeprefix("/_simulator/"):
            case "GET", "health":
                return json_reply({"status": "ok", "requests": self._requests}, request_id)
            case "GET", "journal":
                return json_reply(self.journal.entries(), request_id)
            case "GET", "invoice":
                return json_reply(self.invoice.shown(), request_id)
            case "GET", "script":
                return json_reply(
                    [{**admin.fields, "used": admin.used} for admin in self.scripts.admin_scripts()], request_id
                )
            case "POST", "script":
                try:
                    scripts = msgspec.json.decode(request.body, type=list[dict[str, Any]] | dict[str, Any])
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise ApiError(400, f"The script is not a JSON object or a list of them: {error}") from error
                for script in scripts if isinstance(scripts, list) else [scripts]:
                    self.scripts.add(script)
                return json_reply({"scripts": len(self.scripts.admin_scripts())}, request_id)
            case "POST", "reset":
                self.scripts.reset()
                self.journal.clear()
                self.invoice.clear()
                self._messages.reset()
                return json_reply({"status": "ok"}, request_id)
        raise ApiError(404, "Not found")
