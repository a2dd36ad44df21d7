"""The address of a database: reading DATABASE_URL, writing URLs, and keeping passwords out of messages.

Text in, text out; nothing here connects.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from warehouse.errors import WarehouseError


class InvalidDatabaseUrl(WarehouseError):
    """An environment variable that should hold the address of a PostgreSQL database does not."""


def parse_url(url: str, variable: str = "DATABASE_URL") -> dict[str, str]:
    """The libpq parameters of a URL or a `key=value` string; SQLAlchemy's `postgresql+driver:` is understood too.

    Raises InvalidDatabaseUrl naming the environment variable, and nothing of its value: any part may be the password.
    """
    bare = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url.strip())
    advice = "expected postgresql://user:password@host:port/database"
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(bare).items()}
    except ProgrammingError:
        raise InvalidDatabaseUrl(f"{variable} is not the address of a PostgreSQL database; {advice}.") from None
    if "@" in parameters.get("host", "") or not parameters.get("port", "1").replace(",", "").isdigit():
        raise InvalidDatabaseUrl(
            f"{variable} is ambiguous: in the user name and password, write @ : / % as %40 %3A %2F %25; {advice}."
        )
    return parameters


def to_url(parameters: Mapping[str, str]) -> str:
    """The URL of libpq parameters. Hosts that are not a single name go into the query, as libpq allows."""
    rest = dict(parameters)
    user, password = rest.pop("user", ""), rest.pop("password", None)
    dbname = rest.pop("dbname", "")
    login = quote(user, safe="") + ("" if password is None else ":" + quote(password, safe=""))
    place = ""
    if re.fullmatch(r"[\w.-]+", rest.get("host", "")) and rest.get("port", "1").isdigit():
        port = rest.pop("port", None)
        place = rest.pop("host") + (f":{port}" if port else "")
    query = urlencode(rest, quote_via=quote, safe="/")
    return f"postgresql://{login + '@' if login else ''}{place}/{quote(dbname, safe='')}{'?' + query if query else ''}"


def describe(parameters: Mapping[str, str]) -> str:
    """A database in words that may be shown: `database d at h:5432 as user u`, without the password."""
    host = parameters.get("host") or parameters.get("hostaddr") or "the default host"
    port = f":{parameters['port']}" if "port" in parameters else ""
    user = f" as user {parameters['user']}" if "user" in parameters else ""
    return f"database {parameters.get('dbname') or parameters.get('user', '(default)')} at {host}{port}{user}"


def without_password(text: str, parameters: Mapping[str, str]) -> str:
    """`text` on one line, with every occurrence of the password, plain or percent-encoded, struck out."""
    password = parameters.get("password", "")
    for secret in {password, quote(password, safe=""), quote(password)} - {""}:
        text = text.replace(secret, "***")
    return " ".join(text.split())


def derived_password(owner_password: str, role: str) -> str:
    """The password of a role, one way from the owner's: HMAC-SHA256 keyed with it over the role's name, in hex."""
    return hmac.new(owner_password.encode(), role.encode(), hashlib.sha256).hexdigest()
