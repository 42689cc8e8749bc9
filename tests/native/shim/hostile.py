"""Trees that do not want to end. Each says "armed" on stdout once it stands; all ignore SIGTERM.

They end by themselves after two minutes all the same, lest a test run that was cut off leaves them to the machine for ever.
"""

PREAMBLE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
END = time.monotonic() + 120
def armed():
    os.write(1, b"armed\\n")
def rest():
    signal.alarm(120)
    while True:
        signal.pause()
def hop():
    while time.monotonic() < END:
        if os.fork():
            os._exit(0)
"""

SCRIPTS = {
    "setsid": """
if os.fork() == 0:
    os.setsid()
    armed()
rest()
""",
    "double_fork": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        armed()
        rest()
    os._exit(0)
os.wait()
rest()
""",
    "main_ends_first": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        armed()
        rest()
    os._exit(0)
os.wait()
os._exit(5)
""",
    "stopped": """
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.kill(os.getpid(), signal.SIGSTOP)
        rest()
armed()
rest()
""",
    "closed_everything": """
if os.fork() == 0:
    os.setsid()
    os.chdir("/")
    armed()
    os.closerange(0, 256)
    rest()
rest()
""",
    "threads_outlive_main": """
import ctypes, threading
if os.fork() == 0:
    threading.Thread(target=rest, daemon=True).start()
    armed()
    ctypes.CDLL(None).pthread_exit(None)
rest()
""",
    "deep": """
for depth in range(60):
    if os.fork():
        rest()
    os.setsid()
armed()
rest()
""",
    "wide": """
for _ in range(200):
    if os.fork() == 0:
        os.setsid()
        rest()
armed()
rest()
""",
    "respawner": """
def keep(n):
    while time.monotonic() < END:
        if os.fork() == 0:
            os.setsid()
            os._exit(0) if n == 0 else keep(n - 1)
        try:
            os.wait()
        except ChildProcessError:
            pass
if os.fork() == 0:
    armed()
    keep(1)
rest()
""",
    "fork_hopper": """
if os.fork() == 0:
    os.setsid()
    armed()
    hop()
rest()
""",
    "several_hoppers": """
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        hop()
        os._exit(0)
armed()
rest()
""",
    "odd_name": """
import ctypes
if os.fork() == 0:
    ctypes.CDLL(None).prctl(15, b"a) R 1 (\\n b)", 0, 0, 0)
    armed()
    rest()
rest()
""",
    "own_subreaper": """
import ctypes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        armed()
        rest()
    os._exit(0)
rest()
""",
}


LARGE = {
    "very_wide": """
for _ in range(1000):
    if os.fork() == 0:
        rest()
armed()
rest()
""",
}
"""Too large for a test of every kind of shim."""


def script(name: str) -> str:
    return PREAMBLE + {**SCRIPTS, **LARGE}[name]
