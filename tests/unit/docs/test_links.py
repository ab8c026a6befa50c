"""Links in the documentation lead to files and headings that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = METADATA["urls"]["Repository"]
# Where files of the repository are shown to readers who have no clone.
SHOWN = (
    f"{REPOSITORY}/blob/main/",
    f"{REPOSITORY.replace('//github.com/', '//raw.githubusercontent.com/')}/main/",
)
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
)
LINKS = re.compile(
    r"""\]\((?P<inline>[^)\s]+)\)        # [text](target), ![text](target)
    | ^\[[^\]]+\]:\s+(?P<named>\S+)      # [name]: target
    | \b(?:src|href)="(?P<html>[^"]+)"
    """,
    re.MULTILINE | re.VERBOSE,
)


def prose(page):
    """Return a page without its code, in which nothing is a link."""
    text = (ROOT / page).read_text()
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )


def links(page):
    return [match[match.lastgroup] for match in LINKS.finditer(prose(page))]


def anchors(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page, target):
    """Say what is wrong with a link to a file of the repository; None if nothing is."""
    name, _, anchor = target.partition("#")
    path = (ROOT / page).parent / name if name else ROOT / page
    if not path.exists():
        return f"{page}: no file {target}"
    if anchor and anchor not in anchors(path):
        return f"{page}: no heading {target}"
    return None


def in_repository(link):
    """Return which file of the repository an absolute link shows, or None."""
    return next((link.removeprefix(base) for base in SHOWN if link.startswith(base)), None)


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_exist(page):
    local = [link for link in links(page) if not re.match(r"[a-z]+:", link)]
    assert [problem for link in local if (problem := broken(page, link))] == []


def test_the_description_of_the_package_works_outside_of_the_repository():
    """README.md is shown where the package is listed: a relative link would lead nowhere there."""
    page = METADATA["readme"]
    found = links(page)
    assert len(found) > 10
    assert [link for link in found if not link.startswith(("https://", "#"))] == []


def test_absolute_links_to_the_repository_exist():
    page = METADATA["readme"]
    shown = [path for link in links(page) if (path := in_repository(link))]
    assert [problem for path in shown if (problem := broken(page, path))] == []
    assert "docs/guide.md" in shown
    assert "docs/images/overview.png" in shown


def test_no_other_address_of_the_repository():
    """All addresses are the one of the metadata, so that it can be changed in one go."""
    assert all(url.startswith(REPOSITORY) for url in METADATA["urls"].values())
    addresses = [link for link in links(METADATA["readme"]) if "naq-project" in link]
    assert [link for link in addresses if in_repository(link) is None] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_named_link_is_defined(page):
    """``[Text][name]`` and ``[Name][]`` have their ``[name]: target``."""
    text = prose(page)
    defined = {name.lower() for name in re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE)}
    used = {
        (name or label).lower() for label, name in re.findall(r"\[([^\]]+)\]\[([^\]]*)\]", text)
    }
    assert used <= defined
    assert defined <= used
