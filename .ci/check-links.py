#!/usr/bin/env python3
"""Checks that links between the repository's Markdown pages have an existing target.

Links to other sites are not checked: this script must not depend on them.
"""

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\]\(([^)\s]+)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that the usual renderers give the headings of a page."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def broken(page: Path) -> list[str]:
    found = []
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            found.append(f"{page}: {link} does not exist")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            found.append(f"{page}: {link} names no heading")
    return found


def main() -> None:
    # Including files that are not committed yet, but not those that git ignores.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard", "--", "*.md"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    pages = [Path(name) for name in listed.split("\0") if name]
    problems = [problem for page in pages if page.exists() for problem in broken(page)]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(pages)} pages: all links inside the repository have a target")


if __name__ == "__main__":
    main()
