"""No secret of an address is written down or shown, however the address is written."""

from __future__ import annotations

import string
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune_sr.cli.redaction import redacted, redacted_words, secrets_in, without_secrets
from tune_sr.tracking.store import short_reason

PW = "hunter2"
WITH_SECRETS = {
    "plain": f"http://me:{PW}@host:5000",
    "a slash": f"postgresql://me:a/{PW}@host/db",
    "a slash behind what looks like a port": f"postgresql://me:12/{PW}@host/db",
    "a blank": f"postgresql://me:a {PW}@host/db",
    "a second @": f"postgresql://me:p@{PW}@host/db",
    "a second @ behind a slash": f"postgresql://me:p@s/{PW}@host/db",
    "a question mark": f"postgresql://me:a?{PW}@host/db",
    "a hash": f"postgresql://me:a#{PW}@host/db",
    "a colon": f"postgresql://me:a:{PW}@host/db",
    "brackets": f"http://me:[{PW}@host",
    "escaped": f"postgresql://me:%20{PW}@host/db",
    "a token as user": f"https://{PW}@host",
    "a token as user, no password": f"https://{PW}:@host",
    "one slash": f"http:/me:{PW}@host",
    "no slash": f"http:me:{PW}@host",
    "three slashes": f"http:///me:{PW}@host",
    "no scheme": f"//me:{PW}@host",
    "no scheme at all": f"me:{PW}@host/db",
    "sqlcipher": f"sqlite+pysqlcipher://:{PW}@/db",
    "?password=": f"postgresql://host/db?user=me&password={PW}",
    "?password= of an odd kind": f"postgresql://host/db?password=a;b#c d?{PW}&x=1",
    "?PASSWORD=": f"postgresql://host/db?PASSWORD={PW}",
    "?p%61ssword=": f"postgresql://host/db?p%61ssword={PW}",
    "?token=": f"http://host:5000?token={PW}",
    "?access_token=": f"http://host:5000/x?a=1&access_token={PW}",
    "?api_key=": f"http://host:5000/x?api_key={PW}",
    "?sig=": f"https://host/x?sv=1&sig={PW}",
    "#token=": f"http://host:5000/#token={PW}",
    "?pwd=": f"mysql://host/db?pwd={PW}",
    ";PWD=": f"mssql+pyodbc://host/db?driver=x;UID=me;PWD={PW};y=1",
    "odbc_connect": f"mssql+pyodbc:///?odbc_connect=DRIVER=x;SERVER=h;UID=me;PWD={PW};y=1",
    "odbc_connect, escaped": f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{PW}",
    "odbc_connect with an @": f"mssql+pyodbc:///?odbc_connect=DRIVER=x;PWD=p@{PW};y=1",
    "a token with an @": f"http://host?token=a@{PW}",
    "a password with a question mark and a key": f"mysql://me:a?pwd=b@{PW}/db",
    "half of it from the environment": f"http://me:${{A}}{PW}@host",
    "half of it from the environment, behind": f"http://me:{PW}${{A}}@host",
    "a token, half of it from the environment": f"http://host?token=${{A}}{PW}",
}
WITHOUT = (
    "http://127.0.0.1:5000", "https://host/prefix?a=1&b=2", "databricks", "databricks://profile",
    "sqlite:///runs/mlflow.db", "sqlite:////home/me@work/runs/mlflow.db", "postgresql://host/db",
    "postgresql://host/db?passfile=/home/me/.pgpass&sslmode=require", "http://${USER}:${PW}@host",
    "http://me:${PW}@host", "http://${LOGIN}@host", "${MLFLOW}", "http://host?token=${TOKEN}",
    "./mlruns", "/home/mlruns", "",
)  # fmt: skip


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_no_secret_is_kept(name: str) -> None:
    address = WITH_SECRETS[name]
    kept = without_secrets(address)
    assert PW not in kept and "***" in kept
    assert without_secrets(kept) == kept
    assert any(PW in secret for secret in secrets_in(address))
    for words in (
        ["--tracking-uri", address],
        [f"--tracking-uri={address}"],
        ["--set", f"a.b={address}"],
    ):
        assert PW not in " ".join(redacted_words(words))
    assert PW not in redacted(f"cannot reach {address!r}: password {PW} is wrong", address)
    assert PW not in short_reason(RuntimeError(f"{address}: no {PW}"), address)


@pytest.mark.parametrize("address", WITHOUT)
def test_an_address_without_secrets_stays_as_it_is(address: str) -> None:
    assert without_secrets(address) == address
    assert redacted_words(["--x", address]) == ["--x", address]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--set study.x=http://me:x@h: rule", "--set study.x=http://***@h: rule"),
        ("url: /api?token=abc (Caused by x)", "url: /api?token=*** (Caused by x)"),
        ("http://a:b@c and http://d:e@f", "http://***@c and http://***@f"),
        ("one\nhttp://a:b@c\nme@home", "one\nhttp://***@c\nme@home"),
        ("at sqlite:////home/me@work/a.db: locked", "at sqlite:////home/me@work/a.db: locked"),
        ("a.yaml:3: fixed.data: no such folder", "a.yaml:3: fixed.data: no such folder"),
    ],
)  # fmt: skip
def test_a_text_loses_its_secrets_alone(text: str, shown: str) -> None:
    assert redacted(text) == shown


PLAIN = st.text(string.ascii_letters + string.digits, min_size=6, max_size=12)
ANY = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=8)


@settings(derandomize=True, database=None, deadline=None)
@given(
    user=ANY, password=ANY, host=PLAIN, path=PLAIN, value=ANY, key=st.sampled_from(["token", "PWD"])
)
def test_of_a_well_formed_address_the_rest_stays(
    user: str, password: str, host: str, path: str, value: str, key: str
) -> None:
    """Escaped as RFC 3986 has it; whatever `urlsplit` takes for a secret is gone."""
    secret = f"{quote(user, '')}:{quote(password, '')}"
    address = f"http://{secret}@{host.lower()}:5000/{path}?a=1&{key}={quote(value, '')}"
    kept = urlsplit(without_secrets(address))
    assert (kept.username, kept.password) == ("***", None)
    assert (kept.hostname, kept.port, kept.path) == (host.lower(), 5000, f"/{path}")
    assert kept.query == f"a=1&{key}=***"


@settings(derandomize=True, database=None, deadline=None)
@given(st.text(st.sampled_from("/?#@:;&=[] %$~.,")), st.text(st.sampled_from("/?#@:;&=[] %$~.,")))
def test_whatever_stands_around_a_password(before: str, behind: str) -> None:
    word = "hunter2"
    assert word not in without_secrets(f"postgresql://me:{before}{word}{behind}@host/db?sslmode=x")
    assert word not in without_secrets(f"http://host:1/x?password={before.replace('&', '')}{word}")
