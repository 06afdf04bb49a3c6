#!/bin/sh
# A real Slurm, started for this test alone, harvests one cache with the job array of examples/cluster. One task is killed
# and requeued, one is told to stop and requeues itself; the cache must equal that of a single process byte for byte.
# usage: test_slurm.sh path/to/actcache
#
# Needs Debian's slurm-wlm and munge, which are installed if this runs as root; otherwise the test is skipped. Everything
# lies in a temporary folder. Exit code: 0 passed or skipped, 1 failed.
set -eu

actcache=$(realpath "$1")
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
nWorkers=4
shardTokens=8192
tokens=262144 # 8 shards for each worker

skip() {
  echo "slurm: SKIP: $*"
  exit 0
}
# Slurm's daemons listen on the address of the host's name; with a name of our own that is the loopback's. A container
# that does not allow it uses its own address.
if [ "$(uname -n)" != localhost ] && unshare --uts true 2>/dev/null; then
  exec unshare --uts sh -c 'hostname localhost && exec sh scripts/test_slurm.sh "$0"' "$actcache"
fi

start=$(date +%s)
say() { printf 'slurm: %3d s  %s\n' $(($(date +%s) - start)) "$*"; }

isThere() { command -v munged && command -v slurmctld && command -v slurmd && command -v sbatch; }
if ! isThere >/dev/null; then
  [ "$(id -u)" = 0 ] || skip "no Slurm here; as root: apt-get install slurm-wlm munge"
  sh scripts/setup.sh slurm-wlm munge || skip "slurm-wlm and munge cannot be installed"
  isThere >/dev/null || skip "slurm-wlm and munge are installed, but give no munged, slurmctld, slurmd and sbatch"
  say "installed Slurm"
fi

# This may itself run in a job of another Slurm.
unset $(env | grep -oE '^(SLURM|SBATCH|SRUN)_[A-Z_]+') || true
work=$(mktemp -d)
export SLURM_CONF="$work/slurm.conf"

# Daemons and jobs alike carry the name of this test's configuration in their environment.
ours() {
  for file in $(grep -l "SLURM_CONF=$work/slurm.conf" /proc/[0-9]*/environ 2>/dev/null); do
    file=${file%/environ}
    echo "${file#/proc/}"
  done
}
cleanUp() {
  status=$?
  trap - EXIT INT TERM HUP
  if [ $status != 0 ]; then
    echo "slurm: FAIL; the ends of the logs:"
    tail -n 15 "$work"/*.log || true
  fi
  for signal in TERM KILL; do
    # shellcheck disable=SC2046
    kill -$signal $(ours) 2>/dev/null || true
    for _ in $(seq 30); do
      [ -n "$(ours)" ] || break
      sleep 0.1
    done
  done
  wait
  rm -rf "$work"
  exit $status
}
trap cleanUp EXIT
trap 'exit 130' INT TERM HUP

fail() {
  say "$*"
  exit 1
}
# waitFor seconds what command…: until the command succeeds.
waitFor() {
  seconds=$1 what=$2
  shift 2
  end=$(($(date +%s) + seconds))
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt $end ] || fail "$what: not within $seconds seconds"
    sleep 0.05
  done
}

# munged insists that everybody can reach its socket.
chmod 755 "$work"
mkdir "$work/munge" "$work/state" "$work/spool"
(umask 077 && head -c 128 /dev/urandom >"$work/munge/key")
port=$((20000 + $$ % 10000))
while grep -qE ":($(printf '%04X|%04X' $port $((port + 1)))) " /proc/net/tcp; do port=$((port + 2)); done
host=$(uname -n | cut -d . -f 1)
address=$(getent ahostsv4 "$(uname -n)" | awk 'NR == 1 { print $1 }')
address=${address:-127.0.0.1}
# No cgroups, no systemd, no other host. More CPUs than there may be, so that all tasks run at once. A requeued task may
# start after cred_expire seconds, 5 at least.
cat >"$SLURM_CONF" <<CONF
ClusterName=actcache
SlurmctldHost=$host($address)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket,cred_expire=5
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=$host NodeAddr=$address CPUs=$nWorkers RealMemory=1024
PartitionName=test Nodes=ALL Default=YES State=UP
CONF

munged --foreground --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
  --log-file="$work/munged.log" --origin="$address" --seed-file="$work/munge/seed" 2>"$work/munged.err.log" &
waitFor 10 "munged" test -S "$work/munge/socket"
slurmctld -D 2>"$work/slurmctld.err.log" &
slurmd -D 2>"$work/slurmd.err.log" &
isIdle() { sinfo --noheader --format=%t | grep -qx idle; }
waitFor 30 "a node that is idle" isIdle
say "$(slurmd -V) is up on $address, ports $port and $((port + 1))"

export MODEL=data/model CORPUS=data/stories.jsonl.zst HOOKS="blocks.1.hook_resid_post blocks.2.hook_resid_post"
export OPTIONS="--tokens $tokens --shard-tokens $shardTokens" ACTCACHE="$actcache"
# shellcheck disable=SC2086
"$actcache" harvest --model $MODEL --corpus $CORPUS --hook $HOOKS $OPTIONS --out "$work/alone" --worker 0/1 >"$work/alone.log" 2>&1
say "one process has harvested $(ls "$work/alone/tokens" | wc -l) shards"

export CACHE="$work/cache"
# Ids that begin at 1 and go in steps of 2, to see that the workers are numbered all the same.
last=$((2 * nWorkers - 1))
job=$(sbatch --parsable --array="1-$last:2" --cpus-per-task=1 --mem=0 --output="$work/task-%a.log" \
  examples/cluster/harvest.sbatch)
state() { squeue --noheader --array --states=all --jobs="${job}_$1" --format=%T; }
isIn() { [ "$(state "$1")" = "$2" ]; }
# The second shard is that of worker 1, the fourth that of worker 3, whose job has the id of the whole array.
hasReceipt() { ls "$CACHE"/receipts/tokens/*"$1"-*.json; }

waitFor 60 "a shard of worker 1" hasReceipt 64
id=$(squeue --noheader --array --jobs="${job}_3" --format=%A)
pid=$(scontrol listpids "$id" | awk '$3 == 0 { print $1 }')
[ -n "$pid" ] || fail "worker 1 was done before it could be killed"
kill -KILL "$pid"
waitFor 60 "a shard of worker 3" hasReceipt 192
scancel --signal=TERM "${job}_7"
waitFor 30 "the failure of the killed task" isIn 3 FAILED
nThere=$(ls "$CACHE/receipts/tokens" | wc -l)
say "killed worker 1 (kill -9), stopped worker 3 (SIGTERM); $nThere of $((tokens / shardTokens)) token shards are there"
[ ! -f "$CACHE/manifest.json" ] || fail "the cache is complete although two workers were stopped"
scontrol requeue "${job}_3"
isEmpty() { [ -z "$(squeue --noheader --jobs="$job")" ]; }
waitFor 120 "the end of the array" isEmpty
say "the array is done"

for worker in $(seq 0 $((nWorkers - 1))); do
  task=$((2 * worker + 1))
  isIn $task COMPLETED || fail "task $task is $(state $task)"
  restarts=$(scontrol show job "${job}_$task" | grep -o 'Restarts=[0-9]*')
  case $worker in 1 | 3) expected=1 ;; *) expected=0 ;; esac
  [ "$restarts" = "Restarts=$expected" ] || fail "task $task: $restarts, not $expected"
  n=$(grep -c "worker $worker of $nWorkers (SLURM_ARRAY_TASK_ID)" "$work/task-$task.log")
  [ "$n" = $((expected + 1)) ] || fail "task $task has told $n times which worker it is"
done
grep -q "Killed" "$work/task-3.log" || fail "worker 1 was not killed"
grep -q "interrupted; what is committed stays" "$work/task-7.log" || fail "worker 3 was not interrupted"

# Submitted again, with another number of workers.
job=$(sbatch --parsable --array=0-0 --cpus-per-task=1 --mem=0 --output="$work/again.log" examples/cluster/harvest.sbatch)
waitFor 60 "the end of the second array" isEmpty
grep -q "was complete before; nothing to do" "$work/again.log" || fail "the array did not complete the cache"
diff -r --exclude='.lock*' "$work/alone" "$CACHE" || fail "the caches differ"
say "PASS: $(find "$CACHE" -type f ! -name '.lock*' | wc -l) files equal those of a single process byte for byte"
