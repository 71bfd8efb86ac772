"""What is known of the pinned packages, and that not having been able to ask is no good news."""

import json

import pytest

from scripts import audit

FLAW = {"id": "CVE-2024-1", "fix_versions": ["3.1.5"]}
GOOD = {"name": "jinja2", "version": "3.1.6", "vulns": []}
BAD = {"name": "jinja2", "version": "3.1.0", "vulns": [FLAW]}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code"),
    [([GOOD], 0), ([GOOD, BAD, SKIPPED], 1), ([GOOD, SKIPPED], 2), ([], 2)],
)
def test_python_packages_are_well_only_if_all_were_looked_up(packages, code):
    found = audit.python_packages(lambda *_: json.dumps({"dependencies": packages}))
    assert found.code == code
    lines = ["jinja2 3.1.0: CVE-2024-1, mended in 3.1.5"] if BAD in packages else []
    assert found.vulnerable == lines


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"vulnerabilities": {}}, 0),
        ({"vulnerabilities": {"vite": {"name": "vite", "severity": "high", "range": "<5"}}}, 1),
        ({"message": "405 Method Not Allowed"}, 2),
    ],
)
def test_npm_packages_too(told, code):
    assert audit.npm_packages(lambda *_: json.dumps(told)).code == code


@pytest.mark.parametrize("text", ["", "no json", "[]"])
def test_an_answer_that_is_none_is_not_good_news(text):
    assert audit.python_packages(lambda *_: text).code == 2
    assert audit.npm_packages(lambda *_: text).code == 2
