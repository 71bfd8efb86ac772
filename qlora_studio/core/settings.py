"""Settings by environment (`QLORA_STUDIO_*`) or a `.env` file beside the project."""

from functools import cached_property, lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting with its default. Sizes are in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="QLORA_STUDIO_", env_file=".env", extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=3000, ge=1, le=65535)
    data: Path = Path(".data")
    database_url: str = ""
    model_roots: str = ""
    dataset_roots: str = ""
    clap_model: str = ""
    slots: int = Field(default=1, ge=0, le=64)
    cpu_devices: int = Field(default=1, ge=1, le=16)
    max_queued_jobs: int = Field(default=200, ge=1)
    allowed_hosts: str = ""
    secure_cookies: bool = False
    trusted_proxies: str = ""
    public_url: str = ""
    log_level: str = "INFO"

    session_days: int = Field(default=30, ge=1, le=365)
    max_upload_bytes: int = 20 * 2**30
    max_sockets: int = Field(default=100, ge=1)
    events_per_s: float = Field(default=30.0, gt=0)
    max_streams: int = Field(default=20, ge=1)
    max_body_s: float = Field(default=30.0, gt=0)
    max_file_bytes: int = 4 * 2**30
    max_archive_entries: int = 200_000
    max_clip_s: float = 4 * 3600.0
    sign_ups_per_half_hour: int = Field(default=30, ge=1)
    max_datasets_per_user: int = Field(default=1000, ge=1)
    max_models_per_user: int = Field(default=200, ge=1)
    max_bytes_per_user: int = Field(default=2**40, ge=1)
    url_ports: str = Field(default="80,443", pattern=r"^\s*\d{1,5}\s*(,\s*\d{1,5}\s*)*$")
    s3_endpoints: str = ""
    fetch_idle_s: float = Field(default=30.0, gt=0)
    fetch_total_s: float = Field(default=6 * 3600.0, gt=0)
    fetch_slowest_bytes_s: float = Field(default=1000.0, ge=0)
    webhook_hosts: str = ""
    smtp_host: str = ""
    smtp_port: int | None = Field(default=None, ge=1, le=65535)
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_from: str = ""
    smtp_tls: Literal["starttls", "ssl", "none"] = "starttls"
    stop_grace_s: float = 25.0
    spare_worker: bool = True
    engine_idle_s: float = Field(default=300.0, gt=0)
    max_trial_bytes: int = 25 * 2**20
    max_trial_s: float = 600.0
    max_takes_per_user: int = Field(default=200_000, ge=1)
    ready_takes: int = Field(default=50, ge=1)
    ready_stars: float = Field(default=4.0, ge=1, le=5)
    mlflow_url: str = Field(default="", pattern=r"^$|^https?://\S+$")
    mlflow_token: SecretStr = SecretStr("")
    mlflow_experiment: str = Field(default="QLoRA Studio", min_length=1, max_length=200)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for part in filter(None, (part.strip() for part in value.split(","))):
            ip_network(part)
        return value

    @cached_property
    def data_path(self) -> Path:
        """The one folder that holds everything, absolute."""
        return self.data.expanduser().resolve()

    @property
    def resolved_database_url(self) -> str:
        """The database's URL: SQLite in the data folder unless set."""
        return self.database_url or f"sqlite:///{self.data_path / 'studio.db'}"

    @property
    def model_root_paths(self) -> list[Path]:
        """Folders under which a custom model path may be registered, resolved."""
        return _split_paths(self.model_roots)

    @property
    def dataset_root_paths(self) -> list[Path]:
        """Folders under which a server folder may be added as a dataset, resolved."""
        return _split_paths(self.dataset_roots)

    @property
    def clap_model_path(self) -> Path | None:
        """Folder of the CLAP model that judges how well sounds fit their texts, if there is one."""
        return Path(self.clap_model).expanduser().resolve() if self.clap_model.strip() else None

    @property
    def url_port_numbers(self) -> frozenset[int]:
        """Ports of other servers that a dataset may be fetched from."""
        return frozenset(int(port) for port in self.url_ports.split(",") if port.strip())

    @cached_property
    def trusted_proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Addresses of reverse proxies whose `X-Forwarded-For` is believed."""
        parts = (part.strip() for part in self.trusted_proxies.split(","))
        return tuple(ip_network(part) for part in parts if part)

    @property
    def s3_endpoint_urls(self) -> list[str]:
        """Addresses of S3 servers besides Amazon's that a dataset may be read from."""
        return [url.strip().rstrip("/") for url in self.s3_endpoints.split(",") if url.strip()]

    @property
    def trusted_webhook_servers(self) -> frozenset[tuple[str, int]]:
        """Host and port of servers that webhooks may be sent to though they aren't public."""
        found: set[tuple[str, int]] = set()
        for item in filter(None, (part.strip().lower() for part in self.webhook_hosts.split(","))):
            host, _, port = item.rpartition(":") if item.rpartition(":")[2].isdigit() else (item, "", "")
            found |= (
                {(host.strip("[]"), int(port))} if port else {(item.strip("[]"), 80), (item.strip("[]"), 443)}
            )
        return frozenset(found)

    @property
    def base_url(self) -> str:
        """Where people reach the pages, without a slash at the end; this machine unless set."""
        return self.public_url.strip().rstrip("/") or f"http://localhost:{self.port}"

    @property
    def host_names(self) -> set[str]:
        """Host names the server answers to: loopback, the bound address and `allowed_hosts`."""
        names = {"localhost", "127.0.0.1", "::1", self.host}
        return names | {h.strip().lower() for h in self.allowed_hosts.split(",") if h.strip()}


def _split_paths(value: str) -> list[Path]:
    return [Path(p).expanduser().resolve() for p in value.split(":") if p.strip()]


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the process's settings, read once. Tests call `get_settings.cache_clear()`."""
    return Settings()
