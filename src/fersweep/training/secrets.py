"""Secrets in command lines and in changes of the code: what can be recognised as one is left out of records."""

from __future__ import annotations

import os
import re

WORD = (
    r"(?:(?:api|access|private|secret|signing|encryption|ssh)[-_]?key|secrets?|token|passw(?:or)?d|passphrase|pwd|"
    r"credentials?|authorization|webhook)"
)
"""Part of the name of a secret."""

NAME = rf"{WORD}(?:[-_][\w-]{{0,40}}|\d{{1,9}})?"
"""The rest of such a name, from `WORD` on: ``ACCESS_KEY_ID`` of ``AWS_ACCESS_KEY_ID``."""

QUOTED = r"""[rbuf]{0,2}(?:\"{3}.{0,4000}?\"{3}|'{3}.{0,4000}?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""

FLAG = re.compile(rf"(?i)--?[\w-]{{0,60}}?{NAME}")
"""An option whose value is the next argument."""

OWN = re.compile(rf"(?is)([^=\s]*?(?:{NAME}|on_end)=).+")
"""A whole argument that is a secret by its name."""

LINES = (
    # a value on lines of its own in YAML: more indented, or the items of a list
    re.compile(
        rf"(?im)^([+\- ]?(?P<indent>[ \t]*)(?:- )?[\"']?[\w.-]{{0,60}}?(?:{NAME}|on_end)[\"']?:[ \t]*(?:[|>][^\n]*)?)$"
        r"(?:\n[+\- ]?(?P=indent)(?:[ \t]+|- )[^\n]*)+"
    ),
    # a plain value in YAML, which goes on to the end of the line, and so does that of an export in a shell
    re.compile(rf"(?im)^([+\- ]?[ \t]*(?:- )?[\"']?[\w.-]{{0,60}}?{NAME}[\"']?:[ \t]+)(?![\"'\[{{|>])\S[^\n]*"),
    re.compile(rf"(?im)^([+\- ]?[ \t]*(?:export[ \t]+)?[\w.-]{{0,60}}?{NAME}=)(?![\"'=])\S+"),
    re.compile(r"(?im)(\bon_end[\"'\]]*[ \t]*(?:=(?!=)|:)[ \t]*)\S[^\n]*"),  # an address of a service is a secret, too
    re.compile(r"(?i)(\bauthorization[\"'\]]*\s*[=:,]\s*[\"']?(?:basic|bearer|token|digest)\s+)[^\n\"']+"),
    re.compile(r"(?i)(\bbearer\s+)[^\s\"']+"),
    re.compile(r"()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL),
)
"""Secrets of which nothing but the beginning, group 1, is kept."""

NAMED = re.compile(
    rf"(?is)({NAME}[\"'\])]*(?:[ \t]*:[ \t]*[a-z_][\w.\[\]| ]{{0,60}}?(?=[ \t]*=))?[ \t]*"
    rf"(?::=|=>|=(?!=)|:|(?<=[\"']),(?=\s*[\"']))[ \t]*)"
    rf"(?:[\[({{\s+-]{{0,80}}{QUOTED}|[\"'][^\n]*|[^\s,;\"'}}\])]+)"
)
"""A secret by its name: ``api_key=…``, ``"token": "…"``, ``environ['TOKEN'] = '…'``, ``api_key: str = '…'``."""

CURL = re.compile(
    rf"(\bcurl\b[^\n|;&]{{0,400}}?\s(?:-\w{{0,20}}u|--(?:proxy-)?user)[ =]?)(?:{QUOTED}|[^\s\"']+)", re.DOTALL
)
"""User and password of a request by curl."""

AFTER_FLAG = re.compile(rf"(?is)(--[\w-]{{0,60}}?{NAME}(?:\s+|=))(?:{QUOTED}|[^\s\"']+)")

ADDRESSES = (
    (re.compile(r"(://)(?:[^\s\"':/@]{0,200}:[^\s\"]{0,200}|[^\s\"'/@]{1,200})@"), r"\1…@"),
    (
        re.compile(
            r"(?i)(://(?:hooks\.slack\.com|(?:\w+\.)?discord(?:app)?\.com/api/webhooks|api\.telegram\.org|"
            r"[\w.-]*webhook\.office\.com)/)[^\s\"']+"
        ),
        r"\1…",
    ),
)
"""Users and passwords in addresses, and addresses that let anybody post."""

BARE = re.compile(
    r"\b(?:gh[pousr]_\w{8,}|github_pat_\w{8,}|glpat-[\w-]{8,}|sk-[\w-]{12,}|hf_[A-Za-z0-9]{12,}|xox[abeprs]-[\w-]{8,}|"
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{30,}|pypi-[\w-]{16,}|eyJ[\w-]{8,400}\.[\w-]{8,4000}\.[\w-]+)"
)
"""Keys by their looks: of GitHub, GitLab, OpenAI, Hugging Face, Slack, Amazon, Google, PyPI, and web tokens."""


def redacted(text: str) -> str:
    """Return a text without what can be recognised as a secret.

    That is what has the name or the looks of one, and the values of this process's variables that are named so. A
    secret under any other name stays.
    """
    for name, value in os.environ.items():
        if len(value) >= 8 and re.search(r"(?i)(key|token|secret|passw|credential)", name):
            text = text.replace(value, "…")
    for pattern in (*LINES, NAMED, CURL, AFTER_FLAG):
        text = pattern.sub(r"\1…", text)
    for address, kept in ADDRESSES:
        text = address.sub(kept, text)
    return BARE.sub("…", text)


def redacted_arguments(arguments: list[str]) -> list[str]:
    """Return the arguments of a command without secrets, the value after ``--token`` among them."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return ["…" if FLAG.fullmatch(before) else redacted(OWN.sub(r"\1…", each)) for before, each in pairs]
