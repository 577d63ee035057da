#!/usr/bin/env bash
# Trains on several machines over ssh: process I on the I-th line of a file of hosts.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: ssh_loop.sh [--dry-run] [--port=PORT] [--dir=FOLDER] HOSTS -- FLAGS

  HOSTS    a file with a host a line (as ssh takes it; # begins a comment); the first coordinates
  FLAGS    of wonn_jax.main, the same on all hosts: --config=... --workdir=...

  --port=PORT    on which the first host listens (default 1234)
  --dir=FOLDER   the checkout, on every host (default: the current folder)
  --dry-run      print what would be run on each host

Assumes: ssh to every host without a password; the same checkout and an environment with wonn_jax
in FOLDER/.venv (or a python on the path); a workdir that all hosts see; the port open between
them. Copies nothing. The output of each host is prefixed by its name. Ctrl-C or SIGTERM here asks
all of them to stop: they save once, and the same command goes on from there.

Environment: SSH replaces 'ssh' (SSH='ssh -p 2222').
TEXT
}

fail() {
  echo "error: $1" >&2
  exit 2
}

port=1234 dir=$PWD dry='' hosts_file=''
while (($#)); do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry=yes ;;
    --port=*) port=${1#*=} ;;
    --dir=*) dir=${1#*=} ;;
    --) shift; break ;;
    -*) fail "$1 is no flag of this script; flags of the training come after --, see --help." ;;
    *) [[ -z $hosts_file ]] || fail "two files of hosts, $hosts_file and $1; give one."
       hosts_file=$1 ;;
  esac
  shift
done
[[ -n $hosts_file ]] || fail "no file of hosts is given; see --help."
[[ -r $hosts_file ]] || fail "the file of hosts $hosts_file cannot be read; give one host a line."
[[ $port =~ ^[0-9]+$ ]] || fail "--port=$port is no number; use --port=1234, say."
[[ " $* " == *" --config="* ]] || fail "no --config=FILE after --; see --help."
[[ " $* " == *" --workdir="* ]] || fail "no --workdir=FOLDER after --: one that all hosts see."

mapfile -t hosts < <(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$hosts_file")
((${#hosts[@]})) || fail "the file of hosts $hosts_file names no host; give one a line."
read -ra ssh <<<"${SSH:-ssh}"
coordinator=${hosts[0]#*@}:$port

# What a host runs. It reads nothing, and says its number, to be asked to stop by it: ssh passes
# on no signals.
remote() {
  printf 'cd %q && { [ ! -d .venv ] || . .venv/bin/activate; } && echo "pid $$" && ' "$dir"
  printf 'exec python3 -m wonn_jax.main'
  printf ' %q' "${@:2}" --distributed=on "--coordinator=$coordinator" "--process_id=$1" \
    "--num_processes=${#hosts[@]}"
}

if [[ -n $dry ]]; then
  for i in "${!hosts[@]}"; do
    printf '%s %s %q\n' "${ssh[*]}" "${hosts[i]}" "$(remote "$i" "$@")"
  done
  exit 0
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# shellcheck disable=SC2329  # called by the trap
stop_all() {
  trap '' INT TERM
  echo "asking ${#hosts[@]} hosts to stop" >&2
  for i in "${!hosts[@]}"; do
    if [[ -s $folder/$i ]]; then
      "${ssh[@]}" "${hosts[i]}" "kill -TERM $(<"$folder/$i")" </dev/null 2>/dev/null || true
    fi
  done
}
trap stop_all INT TERM

# The first line is the number of the process; the rest is passed on with the name of the host.
show() {
  local line
  while IFS= read -r line; do
    if [[ $line =~ ^pid\ ([0-9]+)$ && ! -e $folder/$1 ]]; then
      echo "${BASH_REMATCH[1]}" >"$folder/$1"
    else
      printf '[%s] %s\n' "${hosts[$1]}" "$line"
    fi
  done
}

jobs=()
for i in "${!hosts[@]}"; do
  # In a session of its own, so that Ctrl-C does not cut the connection.
  (set -o pipefail
   trap '' INT TERM
   setsid "${ssh[@]}" "${hosts[i]}" "$(remote "$i" "$@")" </dev/null 2>&1 | show "$i") &
  jobs+=($!)
done

# A host that fails takes the others along by itself; this waits for all of them.
status=0
for job in "${jobs[@]}"; do
  while true; do
    code=0
    wait "$job" || code=$?
    kill -0 "$job" 2>/dev/null || break # else a signal came in between
  done
  ((status)) || status=$code
done
exit "$status"
