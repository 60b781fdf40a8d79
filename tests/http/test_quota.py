"""test_quota.py - what a container may have is what sizes are chosen by: limits of control groups,
of both versions, from a made-up folder that a server finds in place of /sys/fs/cgroup."""
import os
import re
import shutil
import subprocess
import tempfile

import lamm
from lamm import Server, Skip
from suite import wait_for

# In a namespace of mounts of its own, the first word lies over /sys/fs/cgroup; the rest is started.
OVERLAID = ("unshare", "-m", "sh", "-c", 'mount --bind "$1" /sys/fs/cgroup && shift && exec "$@"', "sh")
MIB = 1 << 20
NO_LIMIT = {2: "max", 1: str((1 << 63) - 4096)}


def hierarchy(controller):
    """The folder of a controller of version 1 that this process is in; of version 2: ''."""
    with open("/proc/self/cgroup", encoding="ascii") as f:
        names = [line.split(":")[1] for line in f]
    found = [n for n in names if controller in n.split(",")]
    if not found:
        raise Skip(f"this process is in no group of {'version 2' if not controller else controller}")
    return found[0]


class Quota:
    """A folder as the kernel would show it, for groups of `version`. cpus: in hundredths."""

    def __init__(self, version, cpus=None, memory=None):
        if not shutil.which("unshare") or subprocess.run(
                [*OVERLAID, "/tmp", "true"], capture_output=True, check=False).returncode:
            raise Skip("mounts of one's own need root")
        self.folder = tempfile.TemporaryDirectory()
        quota = str(cpus * 1000) if cpus else "max" if version == 2 else "-1"
        most = str(memory) if memory else NO_LIMIT[version]
        if version == 2:
            self.write(hierarchy(""), {"cpu.max": f"{quota} 100000", "memory.max": most, "memory.current": "0"})
        else:
            self.write(hierarchy("cpu"), {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": "100000"})
            self.write(hierarchy("memory"), {"memory.limit_in_bytes": most, "memory.usage_in_bytes": "0"})

    def write(self, name, files):
        at = os.path.join(self.folder.name, name)
        os.makedirs(at, exist_ok=True)
        for file, text in files.items():
            with open(os.path.join(at, file), "w", encoding="ascii") as f:
                f.write(text + "\n")

    def __enter__(self):
        return (*OVERLAID, self.folder.name)

    def __exit__(self, *_):
        self.folder.cleanup()


def threads_under(version, cpus):
    with Quota(version, cpus=cpus) as under, Server(model=lamm.TINY, under=under) as s:
        wait_for(lambda: re.search(r"\d+ threads?\"", s.log()))  # the log is read by another thread
        return int(re.search(r"(\d+) threads?\"", s.log()).group(1))


def check_threads(version):
    cores = len(os.sched_getaffinity(0))
    assert threads_under(version, 100) == 1
    assert threads_under(version, 50) == 1
    assert threads_under(version, 150) == min(2, cores)
    assert threads_under(version, None) == cores


def test_threads_of_version_2():
    check_threads(2)


def test_threads_of_version_1():
    check_threads(1)


def check_memory(version):
    with Quota(version, memory=30 * MIB) as under:
        try:
            Server(under=under).end()
            raise AssertionError("it started in less memory than its model takes")
        except RuntimeError as e:
            text = str(e)
    # 15 of 16 MiB are taken; what would fit is said.
    assert "the device has 28.1 MiB" in text and "are needed in all" in text and "it fits with " in text, text
    slots = []
    for most in (150 * MIB, None):
        with Quota(version, memory=most) as under, Server(under=under) as s:
            metrics = s.ask("GET", "/metrics").body.decode()
            slots.append(sum(map(int, re.findall(r"^lammd_kv_slots\{.*\} (\d+)$", metrics, re.M))))
            assert s.ask("GET", "/readyz").status == 200
    assert 0 < slots[0] < slots[1], slots


def test_memory_of_version_2():
    check_memory(2)


def test_memory_of_version_1():
    check_memory(1)
