#!/usr/bin/env python3
"""Checks that the links between the repository's Markdown pages lead somewhere.

Links to other sites are left alone: whether they answer is not ours to decide.
"""

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\]\(([^)\s]+)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The headings of a page, as the usual renderers name them in addresses."""
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
    # With what is not committed yet, but without what git ignores.
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
    print(f"{len(pages)} pages: every link inside the repository leads somewhere")


if __name__ == "__main__":
    main()
