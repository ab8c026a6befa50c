"""Code in Markdown, as a reader follows it: files are written, commands typed into one terminal.

A fenced block whose first line is ``# file: NAME`` is that file. In a ``console`` block, lines that
start with ``$ `` are typed; what stands below one is what it prints. A block that follows the
comment ``<!-- not run: REASON -->`` is left alone, as are blocks of other languages.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"^(?P<skip><!-- not run: [^\n]+ -->\n+)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FILE = re.compile(r"# file: (?P<name>\S+)\n")
# A network of its own, where the loopback interface is still to be switched on: what a reader
# types uses fixed ports, which somebody else may have taken on this machine.
ALONE = ["unshare", "--user", "--map-root-user", "--net"]
LOOPBACK_UP = """
import fcntl, socket, struct
with socket.socket() as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
"""
PATIENCE = 60.0


@dataclass(frozen=True)
class File:
    """A file the reader makes."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line the reader types, and what it is said to print; nothing said, anything goes."""

    text: str
    output: str


def steps(markdown: str) -> list[File | Command]:
    """What a reader does, from top to bottom."""
    found: list[File | Command] = []
    for block in BLOCK.finditer(markdown):
        if block["skip"]:
            continue
        text = block["text"]
        if named := FILE.match(text):
            found.append(File(named["name"], text[named.end() :]))
        elif block["language"] == "console":
            for typed in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = typed.partition("\n")
                found.append(Command(command, output))
        elif block["language"] == "python":
            name = f"snippet_{len(found)}.py"
            found += [File(name, text), Command(f"python {name}", "")]
    return found


class Terminal:
    """A shell in a directory; what is typed shares its variables and its working directory."""

    def __init__(self, directory: Path) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("NAQ_")}
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        self._shell = subprocess.Popen(
            [*_alone(), "bash", "--noprofile", "--norc"],
            cwd=directory,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if self._shell.args[0] != "bash":
            code, shown = self.type(f"{sys.executable} -c '{LOOPBACK_UP}'")
            assert code == 0, shown

    def type(self, command: str) -> tuple[int, str]:
        """Run a command to its end; return its exit code and all it has printed."""
        mark = secrets.token_hex(8)
        self._shell.stdin.write(f"{command}\necho {mark} $?\n".encode())
        self._shell.stdin.flush()
        shown, deadline = b"", time.monotonic() + PATIENCE
        while not (end := re.search(rb"%s (\d+)\n$" % mark.encode(), shown)):
            pipe = self._shell.stdout.fileno()
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(pipe, 65536) if ready else b""
            assert chunk, f"$ {command}\nhas not ended; it has printed:\n{shown.decode()}"
            shown += chunk
        return int(end[1]), shown[: end.start()].decode()

    def close(self) -> None:
        """End the shell."""
        self._shell.stdin.close()
        self._shell.wait(10)
        self._shell.stdout.close()


def _alone() -> list[str]:
    """How to run something in a network of its own, if this system lets us."""
    if not shutil.which("unshare"):
        return []
    tried = subprocess.run([*ALONE, "true"], capture_output=True, check=False)
    return [] if tried.returncode else ALONE
