"""Makes the file system of a container and becomes its command: ``inside.py SPECIFICATION``, in namespaces of its own.

Nothing is imported from the tests, because this runs before there is anything to import from.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def build(given: dict[str, Any]) -> Path:
    """Mount all that the container has, below the returned folder."""
    mount("--make-rprivate", "/")
    layers = Path(given["folder"])
    layers.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "none", layers)
    root = layers / "root"
    for name in ("root", "upper", "work"):
        (layers / name).mkdir()
    options = f"lowerdir=/,upperdir={layers / 'upper'},workdir={layers / 'work'}"
    mount("-t", "overlay", "overlay", "-o", options, root)

    def target(path: str) -> Path:
        found = root / os.path.realpath(path).lstrip("/")  # a link (/var/run) leads out of the root from here
        found.mkdir(parents=True, exist_ok=True)
        return found

    mount("--rbind", "/dev", target("/dev"))
    mount("-t", "tmpfs", "-o", f"size={given['shm_size']},mode=1777", "shm", target("/dev/shm"))
    mount("-t", "proc", "proc", target("/proc"))
    for path, options in given["tmpfs"].items():
        mount("-t", "tmpfs", "-o", ",".join(filter(None, [options, "mode=1777"])), "tmpfs", target(path))
    # After the tmpfs, because what is shown may be below /tmp.
    for path in given["shown"]:
        mount("--bind", path, target(path))
        mount("-o", "remount,bind,ro", target(path))
    for path, source in given["volumes"].items():
        mount("--bind", source, target(path))
    names = "".join(f"{address} {name}\n" for name, address in given["hosts"].items())
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{names}")
    if given["read_only"]:
        mount("-o", "remount,ro", root)
    return root


def run_under_init(command: list[str]) -> int:
    """What ``init: true`` has as the first process: it passes signals on, and ends when the command has."""
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: os.kill(child, received))
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status)


def main() -> None:
    given = json.loads(sys.argv[1])
    root = build(given)
    socket.sethostname(given["name"])
    os.chroot(root)
    os.chdir(given["working_directory"])
    os.environ.clear()
    os.environ.update(given["environment"])
    if given["user"] is not None:
        os.setgroups([])
        os.setgid(given["user"][1])
        os.setuid(given["user"][0])
    if given["init"]:
        code = run_under_init(given["command"])
        sys.exit(code if code >= 0 else 128 - code)
    os.execvp(given["command"][0], given["command"])


if __name__ == "__main__":
    main()
