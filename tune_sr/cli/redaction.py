"""Removes secrets (passwords, tokens, keys) from addresses, texts and command lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from urllib.parse import unquote_plus

HIDDEN = "***"
"""Replaces each secret."""

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<slashes>/*)")
_WRITTEN_DOWN = re.compile(
    r"^(?!sqlite[^:]*:///)[A-Za-z0-9+.-]*:?/*\*\*\*(?:@|$)|[?&;#][^=&]*=\*\*\*(?:&|$)"
)
_VARIABLES = re.compile(r"(?:\$\{[^}]*\})+")
_FROM_ENVIRONMENT = re.compile(r"(?:[^:@/?#]*:)?(?:\$\{[^}]*\})+")
"""User info whose password is a `${VARIABLE}`, or all of which is one."""
_PARTS = (
    "password", "passwd", "passphrase", "pwd", "token", "secret", "credential", "odbc_connect",
)  # fmt: skip
"""A query key is secret if it contains one of these, or has one of `_WORDS` as a whole word."""
_WORDS = {"pass", "pw", "key", "apikey", "accesskey", "auth", "authorization", "sig", "signature"}
_WORDS |= {"jwt", "sas"}
_BETWEEN, _LEAST = re.compile(r"[@/:?#;=&${}\[\]\s]+"), 4
"""The separators at which a secret is split, and the shortest part that is hidden alone: shorter
parts occur in any text."""
_QUERY = re.compile(r"[?#]")
_URL_IN_TEXT = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//+")
_PAIR_IN_TEXT = re.compile(r"(?P<before>[?&;#])(?P<key>[^=&;#?\s]+)=(?P<value>[^&\s'\"]+)")


def without_secrets(address: str) -> str:
    r"""Replace an address's user info, and the values of its secret query keys, by `***`.

    `${VARIABLES}`, which the environment replaces later, stay as they are. User info ends at the
    last `@`, since a password may contain `/`, `?`, a blank or another `@` (RFC 3986 wants them
    escaped, database clients accept them); an address with an `@` elsewhere is therefore hidden
    further than necessary, never less. Secret keys are those that name a password, token, key,
    signature or whole connection string.

    >>> without_secrets("postgresql://me:pa/s@s@host/db?sslmode=require")
    'postgresql://***@host/db?sslmode=require'
    >>> without_secrets("http://host:5000?token=abc&x=1"), without_secrets("http://me:${PW}@host")
    ('http://host:5000?token=***&x=1', 'http://me:${PW}@host')
    >>> without_secrets("sqlite:////home/me@work/mlflow.db")
    'sqlite:////home/me@work/mlflow.db'
    """
    match = _ADDRESS.match(address)
    begin = match.end() if match else 0
    spans = [*_secret_values(address, begin)]
    if not (match and match["scheme"].startswith("sqlite") and len(match["slashes"]) >= 3):
        end = address.rfind("@")
        if end > begin and not _FROM_ENVIRONMENT.fullmatch(address, begin, end):
            spans.append((begin, end))
    return _with_hidden(address, spans)


def lacks_secrets(address: str) -> bool:
    """Whether an address was stored with `***` in place of its secrets, so cannot be used as it is.

    >>> lacks_secrets("http://***@host"), lacks_secrets("sqlite:////runs/***/mlflow.db")
    (True, False)
    """
    return _WRITTEN_DOWN.search(address) is not None and without_secrets(address) == address


def secrets_in(address: str) -> set[str]:
    """Collect the secrets of an address: as written, percent-decoded, and split at separators.

    The parts are needed because a client that misreads an unescaped password quotes a part of it,
    as in `no such host: "half-of-the-password@host"`.

    >>> sorted(secrets_in("http://me:a%20b@host?token=xyz-1/x"))
    ['a b', 'a%20b', 'me:a b', 'me:a%20b', 'xyz-1', 'xyz-1/x']
    """
    match = _ADDRESS.match(address)
    begin, end = match.end() if match else 0, address.rfind("@")
    found = {address[first:last] for first, last in _secret_values(address, begin)}
    if end > begin and without_secrets(address) != address:
        user, _, password = address[begin:end].partition(":")
        found |= {address[begin:end], password} if password else {user} - {user[:5]}
    found |= set(map(unquote_plus, found))
    parts = {part for each in found for part in _BETWEEN.split(each) if len(part) >= _LEAST}
    return {each for each in found if len(each) > 1} | parts


def redacted(text: str, *addresses: str) -> str:
    """Remove the secrets of all addresses in a text, such as an error message.

    Args:
        text: what is to be shown.
        *addresses: with their secrets; they are removed wherever the text quotes them, whole or in
            parts. Any other address is found by its `//`: its user info is taken to end at the
            line's last `@`, and a secret value in its query at a blank.

    >>> redacted("no route to http://me:pw@host/x?token=1 (refused)")
    'no route to http://***@host/x?token=*** (refused)'
    """
    for address in addresses:
        text = text.replace(address, without_secrets(address))
        for secret in sorted(secrets_in(address), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
    return "\n".join(map(_redacted_line, text.split("\n")))


def redacted_words(words: Sequence[str]) -> list[str]:
    """Remove the secrets from the words of a command line; an address may follow a `=`.

    >>> redacted_words(["--tracking-uri", "http://me:p w@h", "--set", "study.tracking_uri=http://a@b"])
    ['--tracking-uri', 'http://***@h', '--set', 'study.tracking_uri=http://***@b']
    """
    return [_redacted_word(word) for word in words]


def _redacted_word(word: str) -> str:
    if _ADDRESS.match(word):
        return without_secrets(word)
    option = re.match(r"(?:--)?[\w.-]+=", word)
    if option and _ADDRESS.match(word, option.end()):
        return option[0] + without_secrets(word[option.end() :])
    return redacted(word)


def _secret_values(address: str, begin: int) -> list[tuple[int, int]]:
    """Find the spans of the values of secret keys in an address's query and fragment."""
    mark = _QUERY.search(address, begin)
    if mark is None:
        return []
    spans, place = [], mark.end()
    for part in re.finditer(r"[^&]*", address[place:]):
        for pair in re.finditer(r"(?:^|[?#;])(?P<key>[^=?#;]*)=", part[0]):
            first, last = place + part.start() + pair.end(), place + part.end()
            if _is_secret(pair["key"]) and not _VARIABLES.fullmatch(address, first, last):
                spans.append((first, last))
                break
    return [span for span in spans if span[1] > span[0]]


def _is_secret(key: str) -> bool:
    key = unquote_plus(key).lower()
    if key == "passfile":  # PostgreSQL's, which exists to keep passwords out of addresses
        return False
    return any(each in key for each in _PARTS) or bool(_WORDS & set(re.split(r"[^a-z0-9]+", key)))


def _with_hidden(text: str, spans: Sequence[tuple[int, int]]) -> str:
    done, parts = 0, []
    for first, last in sorted(spans):
        if last > done:
            if first >= done:
                parts += [text[done:first], HIDDEN]
            done = last
    return "".join([*parts, text[done:]])


def _redacted_line(line: str) -> str:
    starts = [match.start() for match in _URL_IN_TEXT.finditer(line)]
    parts = [line[: starts[0]] if starts else line]
    for start, end in pairwise([*starts, len(line)]):
        part = line[start:end]
        begin, at = part.index("//") + 2, part.rfind("@")
        plain = at <= begin or part.startswith("sqlite:///")
        if not plain and not _FROM_ENVIRONMENT.fullmatch(part, begin, at):
            part = f"{part[:begin]}{HIDDEN}{part[at:]}"
        parts.append(part)
    return _PAIR_IN_TEXT.sub(_hidden_pair, "".join(parts))


def _hidden_pair(pair: re.Match[str]) -> str:
    kept = not _is_secret(pair["key"]) or _VARIABLES.fullmatch(pair["value"])
    return pair[0] if kept else f"{pair['before']}{pair['key']}={HIDDEN}"
