"""Programs of their own, with everything that they start."""

import atexit
import os
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from ranks import PATIENCE, wait_until

BIN = Path(sys.executable).parent


class Program:
    """A program of its own with everything that it starts.

    Args:
        command: the first word may be one of the programs of this Python environment.
        log: file for what they print.
        env: further environment, by which its processes are found.
    """

    def __init__(self, command: list[str], log: Path, **env: str) -> None:
        self.mark, self.log = uuid.uuid4().hex, log
        tests = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": tests, "BOOTLIGHT_TEST": self.mark, **env}
        if (BIN / command[0]).exists():
            command = [str(BIN / command[0]), *command[1:]]
        with open(log, "wb") as file:
            self.process = subprocess.Popen(command, env=variables, stdout=file, stderr=file, start_new_session=True)
        atexit.register(self.kill)  # a test that fails leaves it behind

    def processes(self) -> list[int]:
        """Numbers of all that live."""
        wanted, found = f"BOOTLIGHT_TEST={self.mark}".encode(), []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                alive = folder.name.isdigit() and b" Z " not in (folder / "stat").read_bytes()
                if alive and wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def kill(self) -> None:
        """SIGKILL to all, whoever started them."""
        while alive := self.processes():
            for number in alive:
                with suppress(ProcessLookupError):
                    os.kill(number, 9)
        self.process.wait()

    def wait(self) -> int:
        """The exit status, when nobody else is left either; those who stay are killed and are an error."""
        try:
            status = self.process.wait(PATIENCE)
            assert wait_until(lambda: not self.processes(), 20), f"it left processes behind: {self.said()}"
        finally:
            self.kill()
        return status

    def said(self) -> str:
        return self.log.read_text(errors="replace")
