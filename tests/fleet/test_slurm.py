#!/usr/bin/env python3
"""docs/fleet/t2v-array.sbatch on a one-node Slurm of its own, in a scratch folder: an array of which one task is requeued.

    python3 test_slurm.py --source ROOT --bin build/.../t2v [--steps 30] [--keep]

Needs Debian's slurm-wlm and munge, and root; exits 77 (skipped) without. Ports and sockets are the test's own.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
PROMPTS = ["a red circle", "a blue square", "a green triangle", "a yellow circle", "a white square"]
CONF = """ClusterName=t2v
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={scratch}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={scratch}/state
SlurmdSpoolDir={scratch}/spool
SlurmctldPidFile={scratch}/slurmctld.pid
SlurmdPidFile={scratch}/slurmd.pid
SlurmctldLogFile={scratch}/slurmctld.log
SlurmdLogFile={scratch}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=10
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(what, test, seconds):
    end = time.time() + seconds
    while time.time() < end:
        if test():
            return
        time.sleep(0.3)
    raise SystemExit(f"FAIL: {what} did not come within {seconds} s")


class Cluster:
    def __init__(self, scratch):
        self.scratch, self.processes = scratch, []
        self.host = socket.gethostname().split(".")[0]
        for folder in ["state", "spool"]:
            (scratch / folder).mkdir()
        conf = CONF.format(host=self.host, scratch=scratch, ports=free_ports(2), cpus=os.cpu_count())
        (scratch / "slurm.conf").write_text(conf)
        self.env = {**os.environ, "SLURM_CONF": str(scratch / "slurm.conf")}

    def start(self):
        s = self.scratch
        (s / "munge.key").write_bytes(os.urandom(128))
        os.chmod(s / "munge.key", 0o400)
        self.spawn(["munged", "--foreground", "--force", f"--key-file={s}/munge.key", f"--socket={s}/munge.socket",
                    f"--pid-file={s}/munged.pid", f"--log-file={s}/munged.log", f"--seed-file={s}/munged.seed"])
        wait_for("munged", (s / "munge.socket").exists, 10)
        self.spawn(["slurmctld", "-D", "-c", "-f", f"{s}/slurm.conf"])
        wait_for("slurmctld", lambda: "UP" in self.ask("scontrol", "ping"), 20)
        self.spawn(["slurmd", "-D", "-N", self.host, "-f", f"{s}/slurm.conf"])
        wait_for("an idle node", lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), 30)

    def spawn(self, command):
        log = open(self.scratch / f"{command[0]}.out", "wb")
        self.processes.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log))

    def ask(self, *command):
        return subprocess.run(command, env=self.env, capture_output=True, text=True).stdout

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_array(cluster, arguments, work):
    # Different numbers of steps: videos that do not take them together, but one after the other.
    lines = [json.dumps({"prompt": p, "seed": i, "steps": arguments.steps + i}) for i, p in enumerate(PROMPTS)]
    (work / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    script = arguments.source / "docs/fleet/t2v-array.sbatch"
    environment = {**cluster.env, "T2V": arguments.bin, "PROMPTS": "prompts.jsonl", "OUT": "videos", "T2V_FAKE": "slow",
                   "T2V_ARGS": "-s 64x64 -f 5"}
    result = subprocess.run(["sbatch", "--parsable", "--array=0-1", str(script)], cwd=work, env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"FAIL: sbatch: {result.stderr}")
    job = result.stdout.strip()
    first = work / "videos/results-0-of-2.jsonl"
    wait_for("the first video of task 0", lambda: any(x["status"] == "done" for x in lines_of(first)), 120)
    cluster.ask("scontrol", "requeue", f"{job}_0")
    wait_for("the requeued task", lambda: "Restarts=1" in cluster.ask("scontrol", "show", "job", f"{job}_0"), 30)
    wait_for("the end of the array", lambda: not cluster.ask("squeue", "-h", "-j", job).strip(), 240)
    return job


def check_results(work):
    lines = {shard: lines_of(work / f"videos/results-{shard}-of-2.jsonl") for shard in range(2)}
    wanted = {0: {1, 3, 5}, 1: {2, 4}}
    problems = []
    for shard, indices in wanted.items():
        if {x["index"] for x in lines[shard] if x["status"] == "done"} != indices:
            problems.append(f"shard {shard} made {[(x['index'], x['status']) for x in lines[shard]]}")
    statuses = [x["status"] for x in lines[0]]
    done = [x["index"] for x in lines[0] if x["status"] == "done"]
    if "skipped" not in statuses or "interrupted" not in statuses:
        problems.append(f"the requeued task left nothing to go on from: {statuses}")
    if len(done) != len(set(done)):
        problems.append(f"a video was made twice: {done}")
    left = [p.name for p in (work / "videos").iterdir() if not p.name.endswith((".mp4", ".jsonl"))]
    if left or len(list((work / "videos").glob("*.mp4"))) != len(PROMPTS):
        problems.append(f"in the folder: {sorted(p.name for p in (work / 'videos').iterdir())}")
    return problems


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    arguments.bin = str(pathlib.Path(arguments.bin).resolve())
    arguments.source = arguments.source.resolve()
    absent = [name for name in ["slurmctld", "slurmd", "sbatch", "munged"] if not shutil.which(name)]
    if absent or os.geteuid() != 0:
        print(f"SKIPPED: {', '.join(absent) or 'not root'} (apt-get install slurm-wlm munge)")
        return SKIPPED
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="t2v-slurm-"))
    os.chmod(scratch, 0o755)
    work = scratch / "work"
    work.mkdir()
    cluster = Cluster(scratch)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        cluster.start()
        start = time.time()
        run_array(cluster, arguments, work)
        problems = check_results(work)
        for problem in problems:
            print(f"FAIL {problem}")
        print(f"{len(PROMPTS)} videos, 2 tasks, 1 requeued: {'failed' if problems else 'passed'} in {time.time() - start:.0f} s")
        return 1 if problems else 0
    finally:
        cluster.stop()
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
