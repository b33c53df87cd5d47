"""A real MLflow server, and real databases: PostgreSQL and MariaDB."""

from __future__ import annotations

import getpass
import glob
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import requests
import sqlalchemy

START_S = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "it ended before it answered"
        if is_so():
            return
        time.sleep(0.2)
    raise TimeoutError


class MlflowServer:
    """`mlflow server` over a store; it can be killed and started again at the same address."""

    def __init__(self, store: str, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--artifacts-destination",
            str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", *options,
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        without_jobs = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight processes that nothing here needs
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=without_jobs,
            cwd=self._folder,
        )
        wait_until(self._answers, self._process)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.uri}/health", timeout=10).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """End the server and its workers at once, as a power cut does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def initdb() -> str | None:
    """The path of PostgreSQL's initdb; Debian keeps it off the PATH."""
    return shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))), None)


class Postgres:
    """A PostgreSQL of its own in a temporary directory; it does not run as root, so it takes another user."""

    def __init__(self) -> None:
        found = initdb()
        assert found is not None, "there is no PostgreSQL on this machine"
        self.folder = Path(tempfile.mkdtemp(prefix="tutelage-pg-", dir="/tmp"))
        user = "nobody" if os.getuid() == 0 else None
        if user:
            shutil.chown(self.folder, user)
        data, port, binaries = self.folder / "data", free_port(), Path(found).resolve().parent
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user, "cwd": self.folder}
        subprocess.run([found, "-D", data, "-U", "tutelage", "--auth=trust", "--no-sync"], check=True, **quiet)  # type: ignore[call-overload]
        command = [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", self.folder]
        self._process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, self._process)
        self.uri = f"postgresql+psycopg://tutelage@127.0.0.1:{port}/postgres"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)


def mariadbd() -> str | None:
    """Return MariaDB's server, or None if there is none or its driver is not installed."""
    return shutil.which("mariadbd") if importlib.util.find_spec("pymysql") else None


class MariaDb:
    """A MariaDB of its own in a temporary directory; it speaks the protocol of MySQL."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tutelage-maria-", dir="/tmp"))
        data, port, user = f"--datadir={self.folder}", free_port(), f"--user={getpass.getuser()}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        install = [
            "mariadb-install-db",
            "--no-defaults",
            data,
            user,
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
        ]
        subprocess.run(install, check=True, **quiet)  # type: ignore[call-overload]
        users = [
            f"create user tutelage@{host};\ngrant all on mlflow.* to tutelage@{host};\n"
            for host in ("localhost", "'127.0.0.1'")
        ]
        (self.folder / "first.sql").write_text("create database mlflow;\n" + "".join(users))  # a statement has one line
        self._process = subprocess.Popen(
            ["mariadbd", "--no-defaults", data, user, f"--port={port}", "--bind-address=127.0.0.1",
             f"--socket={self.folder}/socket", f"--init-file={self.folder}/first.sql"], **quiet,
        )  # type: ignore[call-overload]  # fmt: skip
        self.uri = f"mysql+pymysql://tutelage@127.0.0.1:{port}/mlflow"
        wait_until(self._is_ready, self._process)

    def _is_ready(self) -> bool:
        with suppress(sqlalchemy.exc.SQLAlchemyError), sqlalchemy.create_engine(self.uri).connect():
            return True
        return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)
