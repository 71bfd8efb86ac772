"""The client's calls about adapters: found, sorted in, made the default, fetched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qlora_studio.client_answers import Adapter, Lineage
from qlora_studio.client_base import Connection, pieces


class AdapterCalls(Connection):
    """The registry of adapters."""

    def list_adapters(self, **filters: Any) -> Iterator[Adapter]:
        """All adapters that match, page by page."""
        return self._pages("/adapters", Adapter, filters)

    def import_adapter(self, path: Path, model_id: str, *, name: str = "") -> Adapter:
        """Take in a LoRA made elsewhere: a zip of the folder that PEFT saved, and the model it is for."""
        params = {"model_id": model_id, "name": name, "file_name": path.name}
        with path.open("rb") as file:
            return Adapter.model_validate(
                self._send("POST", "/adapters", params=params, content=pieces(file))
            )

    def get_adapter(self, adapter_id: str) -> Adapter:
        """One adapter."""
        return Adapter.model_validate(self._send("GET", f"/adapters/{adapter_id}"))

    def update_adapter(self, adapter_id: str, **changes: Any) -> Adapter:
        """Change an adapter's `name`, `stage`, `tags` or `notes`, or archive it with `archived`."""
        return Adapter.model_validate(self._send("PATCH", f"/adapters/{adapter_id}", json=changes))

    def activate_adapter(self, adapter_id: str, *, strength: float = 1.0, insist: bool = False) -> Adapter:
        """Make an adapter the default of its base model; `insist` if its certificate says broken."""
        body = {"strength": strength, "insist": insist}
        return Adapter.model_validate(self._send("POST", f"/adapters/{adapter_id}/activate", json=body))

    def deactivate_adapter(self, adapter_id: str) -> Adapter:
        """Leave the adapter's base model without a default."""
        return Adapter.model_validate(self._send("POST", f"/adapters/{adapter_id}/deactivate"))

    def get_lineage(self, adapter_id: str) -> Lineage:
        """What an adapter came from and what came of it, as nodes and edges."""
        return Lineage.model_validate(self._send("GET", f"/adapters/{adapter_id}/lineage"))

    def delete_adapter(self, adapter_id: str) -> None:
        """Delete an adapter and its files."""
        self._send("DELETE", f"/adapters/{adapter_id}")

    def download_adapter(self, adapter_id: str, to: Path) -> Path:
        """Write an adapter as a zip that plain peft loads."""
        return self._download(f"/adapters/{adapter_id}/download", to)
