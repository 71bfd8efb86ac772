"""U1, U2: datasets from addresses inside, and from other people's buckets with the server's credentials."""

import httpx
import pytest

from qlora_studio.contracts.enums import DatasetStatus
from qlora_studio.ingest.addresses import look_up
from tests.ingest.test_addresses import INSIDE
from tests.ingest.test_cloud import _the_servers_own_keys, s3
from tests.ingest.test_fetching import dataset, refused  # noqa: F401
from tests.ingest.test_pipeline import taken_in
from tests.ingest.web import PUBLIC, Request, Web, web
from tests.security.conftest import KEY_OF_THE_SERVER, SECRET_OF_THE_SERVER, TOKEN_OF_THE_SERVER, Lab
from tests.security.uploading import settled

__all__ = ["_the_servers_own_keys", "s3", "web"]
pytestmark = pytest.mark.slow
SPELLINGS = """
localhost LOCALHOST localhost. 127.0.0.1 127.0.0.1. 127.1 127.0.1 2130706433 017700000001 0177.0.0.1
0x7f.0.0.1 0x7f000001 0x7f.1 0 0.0.0.0 [::1] [::] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1]
[::ffff:10.0.0.1]
10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 2852039166 0xa9fea9fe [fe80::1] [fd00:ec2::254]
[64:ff9b::7f00:1] [2002:7f00:1::] 100.64.0.1 168.63.129.16 metadata.google.internal
""".split()
MALFORMED = {
    "another scheme: file": "file:///etc/passwd",
    "another scheme: ftp": "ftp://files.example/a.zip",
    "another scheme: gopher": "gopher://127.0.0.1:6379/_INFO",
    "another port": "http://files.example:6379/",
    "a name and password": "http://user:pass@files.example/",
    "a host before an @": "http://files.example@127.0.0.1/",
    "a backslash": "http://files.example\\@127.0.0.1/",
    "CR LF": "http://files.example/a\r\nHost: 127.0.0.1",
    "a tab in the host": "http://127.0\t.0.1/",
    "digits of another script": "http://\uff11\uff12\uff17.0.0.1/",
    "a percent sign in the host": "http://%31%32%37.0.0.1/",
}


@pytest.fixture(scope="module")
def ada(lab: Lab) -> httpx.Client:
    return lab.join("ada-addresses")


def ask(api: httpx.Client, kind: str, **source: str) -> httpx.Response:
    return api.post("/datasets", json={"name": "d", "source": {"kind": kind, **source}})


def is_known(host: str) -> bool:
    """Whether this machine's resolver knows the spelling; what it doesn't leads nowhere."""
    try:
        return bool(look_up(host.strip("[]"), 80))
    except OSError:
        return False


@pytest.mark.attack("U1", "every spelling of an address inside", "refused before connecting")
def test_an_address_inside_is_refused(ada: httpx.Client) -> None:
    known = [host for host in SPELLINGS if is_known(host)]
    assert len(known) > 20
    for host in known:
        made = ask(ada, "url", url=f"http://{host}/set.zip")
        if made.status_code == 422:
            continue
        dataset = settled(ada, made.raise_for_status().json()["id"])  # noqa: F811
        assert dataset["status"] == "error", host
        assert "isn't a public server" in dataset["error"], (host, dataset["error"])
        ada.delete(f"/datasets/{dataset['id']}").raise_for_status()
    assert ada.get("/datasets").json()["total"] == 0


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(url, id=what, marks=pytest.mark.attack("U1", what, "422, nothing is made"))
        for what, url in MALFORMED.items()
    ],
)
def test_an_address_that_programs_read_differently_is_refused(ada: httpx.Client, url: str) -> None:
    assert ask(ada, "url", url=url).status_code == 422
    assert ada.get("/datasets").json()["total"] == 0


@pytest.mark.attack("U1", "a name with one public and one private address", "refused before connecting")
def test_a_second_address_inside_is_enough(dataset, web: Web, decoding_here: None) -> None:  # noqa: F811
    for second in INSIDE:
        web.names["files.example"] = [PUBLIC, second]
        assert "isn't a public server" in refused(dataset()), second
    assert web.connected == []


@pytest.mark.attack("U1", "a name that changes its mind (rebinding)", "each hop looks up anew, refused there")
def test_a_name_that_changes_its_mind_gains_nothing(
    dataset,  # noqa: F811
    web: Web,
    decoding_here: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([[PUBLIC]])
    monkeypatch.setattr(
        web, "names", type("Rebinding", (dict,), {"__getitem__": lambda *_: next(answers, ["127.0.0.1"])})(
            {"files.example": []}
        ),
    )  # fmt: skip
    web.pages["/set.zip"] = lambda request: request.send_head(
        302, {"Location": "http://files.example/again", "Content-Length": "0", "Connection": "close"}
    )
    assert "isn't a public server" in refused(dataset())
    assert [address for address, _ in web.connected] == [PUBLIC]


@pytest.mark.attack("U1", "a public server that sends on to an address inside", "refused at that hop")
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1/", "http://[::1]/", "//169.254.169.254/latest", "file:///etc/passwd", "http://10.0.0.1:22/",
     "gopher://127.0.0.1/", "http://user:x@files.example/", "http://2130706433/"],
)  # fmt: skip
def test_a_redirect_inside_is_refused_at_that_hop(
    dataset,  # noqa: F811
    web: Web,
    decoding_here: None,
    location: str,
) -> None:
    def send_on(request: Request) -> None:
        request.send_head(302, {"Location": location, "Content-Length": "0"})

    web.pages["/set.zip"] = send_on
    refused(dataset())
    assert [address for address, _ in web.connected] == [PUBLIC]
    assert len(web.seen) == 1


@pytest.mark.attack("U2", "a closed bucket that the server's own keys open", "refused, no key was sent")
def test_the_servers_keys_open_no_bucket(dataset, s3, decoding_here: None) -> None:  # noqa: F811
    s3.put_object_acl(Bucket="lab", Key="calls/a.wav", ACL="private")
    s3.seen.clear()
    result, clips = taken_in(dataset("s3://lab/calls", "cloud", endpoint_url=s3.endpoint))
    assert (result.status, clips) == (DatasetStatus.ERROR, {})
    assert "doesn't let us read it" in (result.error or "")
    assert s3.seen
    assert set(s3.seen) == {""}


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        pytest.param(kind, source, id=what, marks=pytest.mark.attack("U2", what, "422, nothing is asked"))
        for what, kind, source in [
            ("s3 key with ..", "cloud", {"url": "s3://lab/../other/x"}),
            ("gs key with ..", "cloud", {"url": "gs://lab/a/../../other"}),
            ("s3 at an endpoint inside", "cloud", {"url": "s3://lab/x", "endpoint_url": "http://127.0.0.1:9/"}),
            ("a Hub id with ..", "hub", {"repo_id": "../../etc/passwd"}),
            ("a Hub address elsewhere", "hub", {"repo_id": "https://evil.example/a/b"}),
            ("a Hub revision with ..", "hub", {"repo_id": "lab/set", "revision": "../../x"}),
        ]
    ],
)  # fmt: skip
def test_a_link_that_climbs_is_refused(ada: httpx.Client, kind: str, source: dict[str, str]) -> None:
    answer = ask(ada, kind, **source)
    assert answer.status_code == 422
    for secret in (TOKEN_OF_THE_SERVER, KEY_OF_THE_SERVER, SECRET_OF_THE_SERVER):
        assert secret not in answer.text
    assert ada.get("/datasets").json()["total"] == 0


@pytest.mark.attack("U2", "somebody else's kept credential", "404, nothing is made")
@pytest.mark.parametrize("kind", ["s3", "gs", "hub"])
def test_a_credential_of_somebody_else_is_not_there(lab: Lab, ada: httpx.Client, kind: str) -> None:
    other = lab.admin.post(
        "/credentials", json={"kind": "s3", "name": "mine", "key": "AKIAMINE", "secret": "my-secret"}
    ).raise_for_status().json()["id"]  # fmt: skip
    where = {"repo_id": "lab/set"} if kind == "hub" else {"url": f"{kind}://lab/calls"}
    source = where | {"credential_id": other}
    assert ask(ada, "hub" if kind == "hub" else "cloud", **source).status_code == 404
    assert ada.get("/datasets").json()["total"] == 0
