"""An import that was ended goes on, and two at once don't meet."""
import os
import random
import shutil
import signal
import subprocess
import time

import suite
from lab import PROGRAM, SIZES, refused, run
from lamm import Skip


def words(o):
    return [o.path("llama"), o.path("eva.pth"), o.path("stage.pth"), *SIZES]


def test_goes_on_from_any_byte(o, tmp):
    """What a killed import left: cut anywhere, longer than it will be, or with other bytes."""
    digest = run(*words(o), "-o", tmp("m")).stdout
    with open(tmp("m", "model.safetensors"), "rb") as f:
        whole = f.read()
    rng = random.Random(3)
    for cut in [0, 1, 7, 8, 1000, len(whole) - 1, len(whole)] + [rng.randrange(len(whole)) for _ in range(suite.count(3, 50))]:
        shutil.rmtree(tmp("m"))
        os.mkdir(tmp("m.part"))
        left = bytearray(whole[:cut])
        if cut % 2 and cut > 100:
            left[cut // 2] ^= 255
        if cut == len(whole):
            left += b"more"
        with open(tmp("m.part", "model.safetensors"), "wb") as f:
            f.write(left)
        assert run(*words(o), "-o", tmp("m")).stdout == digest
        with open(tmp("m", "model.safetensors"), "rb") as f:
            assert f.read() == whole
        assert not os.path.exists(tmp("m.part"))


def test_killed(o, tmp):
    """kill -9, again and again: there is no folder, or a whole one."""
    digest = run(*words(o), "-o", tmp("m")).stdout
    rng = random.Random(4)
    for form in ([], ["--no-copy"]):
        for _ in range(suite.count(10, 100)):
            shutil.rmtree(tmp("m"), ignore_errors=True)
            p = subprocess.Popen([PROGRAM, "import", *words(o), "-o", tmp("m"), *form], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.04)
            p.send_signal(signal.SIGKILL)
            p.wait()
            if os.path.exists(tmp("m")):
                subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp("m"), check=True)
            else:
                assert run(*words(o), "-o", tmp("m"), *form).stdout == digest


def test_one_at_a_time(o, tmp):
    import fcntl
    os.mkdir(tmp("m.part"))
    fd = os.open(tmp("m.part"), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    refused("another process makes it", *words(o), "-o", tmp("m"))
    os.close(fd)
    with open(tmp("m.part", "mine.txt"), "w") as f:
        f.write("x")
    refused("has other files (mine.txt)", *words(o), "-o", tmp("m"))
    os.unlink(tmp("m.part", "mine.txt"))
    run(*words(o), "-o", tmp("m"))


def test_a_disk_without_room(o, tmp):
    """A file system of its own, smaller than the model: refused before anything is written."""
    os.mkdir(tmp("d"))
    script = f"mount -t tmpfs -o size=8m none {tmp('d')} && exec \"$@\""
    mount = ["unshare", "-rm", "sh", "-c", script, "sh"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        raise Skip("no user may mount here")
    refused("GB are free there", *words(o), "-o", tmp("d", "m"), under=mount)


def test_a_write_that_fails(o, tmp):
    """A limit of the size of files, like a disk that is full: said, and gone on with later."""
    digest = run(*words(o), "-o", tmp("m")).stdout
    shutil.rmtree(tmp("m"))
    limit = ["sh", "-c", "trap '' XFSZ; ulimit -f 200; exec \"$@\"", "sh"]
    refused("model.safetensors: File too large", *words(o), "-o", tmp("m"), under=limit)
    assert os.listdir(tmp("m.part")) == ["model.safetensors"] and not os.path.exists(tmp("m"))
    assert run(*words(o), "-o", tmp("m")).stdout == digest
