"""A server as compose runs it: the settings of ``compose/server/valkey.conf``, the logins of ``compose/prepare``.

Other than in the container are the address, the port, the data folder and the place of the ACL file, for these are the
container's own. Nothing here knows which logins there are: whatever ``compose/prepare`` makes is what the server has.
"""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis

from producers.settings import database_url
from tests.support.node import ROOT
from tests.support.servers import Server, option_words

COMPOSE = ROOT / "compose"


def prepare(secrets: Path, *options: str) -> None:
    """Run compose/prepare for a folder of secrets."""
    environment = {"PATH": os.environ["PATH"], "SECRETS": str(secrets)}
    command = [str(COMPOSE / "prepare"), *options]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class ComposeServer(Server):
    """The server of compose/compose.yaml in a folder of its own, which `remove` deletes.

    ``calls`` are the options of each call of compose/prepare.
    """

    def __init__(self, *options: str, program: str = "", calls: Sequence[Sequence[str]] = ((),)) -> None:
        super().__init__(*options, program=program)
        self.secrets = self.folder / "secrets"
        for call in calls:
            prepare(self.secrets, *call)
        if not self._knows_setinfo():
            users = self.secrets / "users.acl"
            users.write_text(users.read_text(encoding="utf-8").replace("+client|setinfo", ""), encoding="utf-8")

    def _knows_setinfo(self) -> bool:
        """Whether the server has CLIENT SETINFO. Debian 12's Redis 7.0 does not, and reads no list that names it."""
        told = subprocess.run([self.server_program, "--version"], check=True, capture_output=True, text=True).stdout
        return [int(each) for each in re.findall(r"\d+", told)[:2]] >= [7, 2]

    def arguments(self) -> Sequence[str]:
        """The command line: compose's settings without those that are the container's own, and ours in their place."""
        own = {"port": self.port, "bind": "127.0.0.1", "dir": self.data_folder, "aclfile": self.secrets / "users.acl"}
        lines = (COMPOSE / "server" / "valkey.conf").read_text(encoding="utf-8").splitlines()
        # Left out, not overridden: the server goes to the folder that `dir` names as soon as it reads the line.
        kept = [line for line in lines if line.partition(" ")[0] not in own]
        config = self.folder / "valkey.conf"
        config.write_text("\n".join(kept) + "\n", encoding="utf-8")
        return [self.server_program, str(config), *option_words(own), *self.options]

    @cached_property
    def urls(self) -> Mapping[str, str]:
        """A URL for each login, without a database. A login is named by its file: ``producer`` by ``producer_url``."""
        files = sorted(self.secrets.rglob("*_url"))
        names = [str(path.relative_to(self.secrets)).removesuffix("_url") for path in files]
        texts = [path.read_text(encoding="utf-8").strip() for path in files]
        health = f"redis://health:health@127.0.0.1:{self.port}"
        return {"health": health, **dict(zip(names, map(self._here, texts), strict=True))}

    def _here(self, url: str) -> str:
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self.port}"))

    def login(self, name: str, database: int = 0, **options: Any) -> Any:
        """A client with somebody's login; it decodes unless it is told otherwise."""
        given = {"decode_responses": True, "socket_timeout": 30, **options}
        return redis.Redis.from_url(database_url(self.urls[name], database), **given)

    def client(self, database: int = 0) -> Any:
        """A client with the administrator's login."""
        return self.login("admin", database)

    def url(self, database: int | None = None) -> str:
        """The URL of the administrator's login."""
        return self.urls["admin"] if database is None else database_url(self.urls["admin"], database)

    def refusals(self) -> list[tuple[str, str, str]]:
        """Whom the server refused what since the last call: login, kind (``command``, ``key``, ``channel``, ``auth``)
        and the name of what was refused, oldest first."""
        with self.client() as admin:
            entries = admin.acl_log()
            admin.acl_log_reset()
        return [(each["username"], each["reason"], each["object"]) for each in reversed(entries)]
