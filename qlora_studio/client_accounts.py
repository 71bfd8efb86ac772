"""Calls about accounts: tokens for scripts, sharing, and what admins do."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from qlora_studio.client_answers import Answer
from qlora_studio.client_base import Connection
from qlora_studio.contracts.enums import Role, Sharing, TokenScope

_PATHS = {"ds": "datasets", "mod": "models", "job": "jobs", "ada": "adapters"}


class Token(Answer):
    """A token for scripts; `token` is there when it was just made."""

    id: str
    name: str
    scope: TokenScope
    token: str | None = None
    expires_at: datetime | None
    last_used_at: datetime | None


class Me(Answer):
    """One's own account."""

    id: str
    username: str
    name: str
    email: str
    role: Role


class System(Answer):
    """The machine that the server runs on; sizes in bytes."""

    device: dict[str, Any]
    memory: dict[str, int]
    disk: dict[str, int]
    queue: dict[str, Any]
    versions: dict[str, str]


class AuditLine(Answer):
    """Who did what, when, to what."""

    id: int
    at: datetime
    actor_name: str
    action: str
    object_type: str
    object_id: str
    object_name: str


class Person(Answer):
    """An account as an admin sees it."""

    id: str
    username: str
    email: str
    role: Role
    is_disabled: bool
    held_bytes: int
    limit_bytes: int


class AccountCalls(Connection):
    """What concerns one's own account, and everybody's."""

    def get_me(self) -> Me:
        """Who is signed in."""
        return Me.model_validate(self._send("GET", "/me"))

    def get_system(self) -> System:
        """What the server runs on, and what it has left."""
        return System.model_validate(self._send("GET", "/system"))

    def change_password(self, current: str, new: str) -> int:
        """Set another password; returns how many other sessions that has ended."""
        answer = self._send("POST", "/me/password", json={"current": current, "new": new})
        return int(answer["sessions_ended"])

    def create_token(
        self, name: str, *, scope: TokenScope | str = TokenScope.READ, days: int | None = 90
    ) -> Token:
        """Make a token for scripts; its `token` is told this once. Without `days` it does not expire."""
        body = {"name": name, "scope": str(scope), "days": days}
        return Token.model_validate(self._send("POST", "/tokens", json=body))

    def list_tokens(self) -> list[Token]:
        """Your tokens, without their secrets."""
        return list(self._pages("/tokens", Token, {}))

    def revoke_token(self, token_id: str) -> None:
        """End a token at once."""
        self._send("DELETE", f"/tokens/{token_id}")

    def share(self, thing_id: str, sharing: Sharing | str) -> None:
        """Let others look at a dataset, model, job or adapter (`read`), use it, or neither (`private`)."""
        kind = _PATHS.get(thing_id.partition("_")[0])
        if kind is None:
            raise ValueError(f"{thing_id} is no dataset, model, job or adapter.")
        self._send("PUT", f"/{kind}/{thing_id}/sharing", json={"sharing": str(sharing)})

    def list_users(self, **filters: Any) -> Iterator[Person]:
        """All accounts that match, page by page (admins)."""
        return self._pages("/users", Person, filters)

    def update_user(self, user_id: str, **changes: Any) -> Person:
        """Change `role`, `is_disabled`, `max_bytes` or `max_queued_jobs` of an account (admins)."""
        if isinstance(role := changes.get("role"), Role):
            changes["role"] = role.value
        return Person.model_validate(self._send("PATCH", f"/users/{user_id}", json=changes))

    def make_reset_link(self, user_id: str) -> str:
        """A link by which its person sets a new password, once, within a day (admins)."""
        return str(self._send("POST", f"/users/{user_id}/reset-link")["url"])

    def delete_user(self, user_id: str, *, heir_id: str = "") -> None:
        """Delete an account; what it owns goes to `heir_id` (admins)."""
        self._send("DELETE", f"/users/{user_id}", params={"heir_id": heir_id})

    def list_audit(self, **filters: Any) -> Iterator[AuditLine]:
        """Who did what, newest first: `query`, `who`, `action`, `object`, `since`, `until`."""
        return self._pages("/audit", AuditLine, filters)

    def download_audit(self, to: Path, **filters: Any) -> Path:
        """Keep the audit log as CSV (admins); filters are those of `GET /audit`."""
        return self._download("/audit.csv", to, params=filters)
