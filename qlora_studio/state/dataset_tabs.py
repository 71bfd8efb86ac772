"""What the tabs of a dataset's page share: the address says which one is open."""

from typing import ClassVar
from urllib.parse import urlencode

import reflex as rx

TABS = ("overview", "clips", "quality", "transcribe", "versions", "augment")


class DatasetTab(rx.State, mixin=True):
    """One tab of `/datasets/[dataset_id]`. All are told of each change of address; the open one loads."""

    _tab: ClassVar[str] = ""

    def _is_open(self) -> bool:
        return self._open_tab() == self._tab

    def _open_tab(self) -> str:
        named = dict(self.router.url.query_parameters).get("tab", "")
        return named if named in TABS else TABS[0]

    def _address_now(self) -> str:
        url = self.router.url
        return url.path + (f"?{urlencode(url.query_parameters)}" if url.query_parameters else "")
