#!/usr/bin/env bash
# Trains on several hosts over ssh: one process a host, all devices of each.
set -euo pipefail

usage() {
  cat <<'END'
Usage: ssh_loop.sh --hosts=FILE [OPTIONS] -- --config=CONFIG --workdir=FOLDER [FLAGS]

Starts process i on host i, all with the flags after '--', and prefixes their output with the host.
Ctrl-C and SIGTERM reach all of them: they save once and stop. They also do if this loop or a
connection is lost. If one fails, all end. The same command resumes from the checkpoint.

  --hosts=FILE             one host per line, as for ssh; '#' begins a comment
  --coordinator=HOST:PORT  of process 0, as the others reach it (default: the first host, port 12321)
  --folder=FOLDER          with this repository, on every host (default: the current folder)
  --setup=COMMANDS         to run there first, such as '. .venv/bin/activate'
  --python=PROGRAM         (default: python)
  --ssh=COMMAND            (default: ssh -o BatchMode=yes -o ServerAliveInterval=15)
  --patience=SECONDS       for the others to end by themselves when one has failed; JAX notices it
                           within 40 s (default: 45)
  --grace=SECONDS          to save after a request to stop (default: 300)
  --dry-run                print the commands instead

Assumes: bash 4.4 here and bash there, ssh keys, the same code and versions on all hosts, open ports
between them, and a workdir that all see.
END
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

quote() { # for any shell at the other end
  local word
  for word in "$@"; do printf "'%s' " "${word//\'/\'\\\'\'}"; done
}

hosts_file='' coordinator='' folder=$PWD setup=':' python=python
ssh_command='ssh -o BatchMode=yes -o ServerAliveInterval=15' patience=45 grace=300 dry_run=no
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --hosts=*) hosts_file=${1#*=} ;;
    --coordinator=*) coordinator=${1#*=} ;;
    --folder=*) folder=${1#*=} ;;
    --setup=*) setup=${1#*=} ;;
    --python=*) python=${1#*=} ;;
    --ssh=*) ssh_command=${1#*=} ;;
    --patience=*) patience=${1#*=} ;;
    --grace=*) grace=${1#*=} ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    *) fail "'$1' is no option of ssh_loop.sh; flags of the training come after '--', see --help." ;;
  esac
  shift
done

config='' workdir=''
for flag in "$@"; do
  case $flag in
    --config=?*) config=$flag ;;
    --workdir=?*) workdir=$flag ;;
    --distributed* | --coordinator* | --process_id* | --num_processes*)
      fail "$flag is set by this loop, for each host its own; leave it out." ;;
  esac
done
[[ $config ]] || fail "no --config=CONFIG after '--'; see --help."
[[ $workdir ]] || fail "no --workdir=FOLDER after '--'; give one that all hosts see."
[[ $hosts_file ]] || fail "no --hosts=FILE; give a file with a host a line."
[[ -r $hosts_file ]] || fail "the file of hosts $hosts_file cannot be read."
for number in "$patience" "$grace"; do
  [[ $number =~ ^[0-9]+$ ]] || fail "--patience and --grace are whole seconds, not '$number'."
done

hosts=()
while read -r host rest || [[ $host ]]; do
  [[ $host && $host != \#* ]] || continue
  [[ ! $rest || $rest == \#* ]] || fail "$hosts_file: '$host $rest' is more than a host; one a line."
  [[ $host != -* ]] || fail "$hosts_file: '$host' is no host."
  for other in "${hosts[@]}"; do
    [[ $other != "$host" ]] ||
      fail "$hosts_file has $host twice; one process uses all devices of a host."
  done
  hosts+=("$host")
done <"$hosts_file"
((${#hosts[@]})) || fail "$hosts_file has no host in it."
coordinator=${coordinator:-${hosts[0]#*@}:12321}
[[ $coordinator =~ ^.+:[0-9]+$ ]] || fail "--coordinator=$coordinator is not HOST:PORT."
read -ra ssh_words <<<"$ssh_command"
((${#ssh_words[@]})) || fail "--ssh is empty."

# Runs on a host, where its text is sent. Its input carries names of signals. The end of the input
# means that the loop or the connection is lost: then, too, the process saves and stops.
# shellcheck disable=SC2329  # called there
on_host() {
  local folder=$1 setup=$2 process watcher name asked status=0
  shift 2
  cd "$folder" || return 2
  eval "$setup" || return 2
  export PYTHONUNBUFFERED=1
  exec 3<&0
  # Through a pipe: printing into a broken connection would end the run before it has saved.
  "$@" 3<&- </dev/null > >(
    trap '' PIPE
    while IFS= read -r line || [[ $line ]]; do printf '%s\n' "$line" 2>/dev/null || true; done
  ) 2>&1 &
  process=$!
  {
    asked=no
    while read -r -u 3 name; do
      kill "-$name" "$process"
      asked=yes
    done
    # Only once: a second SIGTERM would end a process that runs alone while it saves.
    [[ $asked == yes ]] || kill -TERM "$process"
  } >/dev/null 2>&1 &
  watcher=$!
  wait "$process" || status=$?
  kill "$watcher" 2>/dev/null
  return "$status"
}

launch() {
  local i=$1 host=${hosts[$1]} fd line status=0
  # Inherited copies would hide the end of the loop from this host.
  for fd in "${controls[@]}"; do exec {fd}>&-; done
  "${ssh_words[@]}" "$host" "bash -c $(quote "$(declare -f on_host); on_host \"\$@\"" on_host \
    "$folder" "$setup" "${commands[@]}" "--process_id=$i")" 2>&1 |
    while IFS= read -r line || [[ $line ]]; do printf '[%s] %s\n' "$host" "$line"; done || status=$?
  ((status == 0)) || printf '[%s] ended with status %s\n' "$host" "$status" >&2
  exit "$status"
}

commands=("$python" -m wonn_jax.main "$@" --distributed=on "--coordinator=$coordinator"
  "--num_processes=${#hosts[@]}")
if [[ $dry_run == yes ]]; then
  for i in "${!hosts[@]}"; do
    printf '%s %s: cd %s&& %s && %s\n' "$ssh_command" "${hosts[i]}" "$(quote "$folder")" "$setup" \
      "$(quote "${commands[@]}" "--process_id=$i")"
  done
  exit 0
fi

fifos=$(mktemp -d)
trap 'rm -rf "$fifos"' EXIT
trap '' PIPE # the exit status tells of a lost host
asked=0      # 128 + number of the signal that this loop got
kill_at='' stop_at=''
tell_all() {
  local fd
  for fd in "${controls[@]}"; do { printf '%s\n' "$1" >&"$fd"; } 2>/dev/null || true; done
}
# shellcheck disable=SC2329  # called by the traps
ask() {
  if ((asked)); then
    tell_all KILL # asked twice
  else
    asked=$1 kill_at=$((SECONDS + grace))
    echo "asked to stop: all save and end (once more: they are killed)" >&2
    tell_all TERM
  fi
}
trap 'ask 130' INT
trap 'ask 143' TERM

controls=() left=() result=0
for i in "${!hosts[@]}"; do
  mkfifo "$fifos/$i"
  launch "$i" <"$fifos/$i" &
  left+=("$!")
  exec {fd}>"$fifos/$i"
  controls+=("$fd")
  ((!asked)) || printf 'TERM\n' >&"$fd" # it came while they were started
done

while ((${#left[@]})); do
  running=()
  for pid in "${left[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
      continue
    fi
    status=0
    wait "$pid" || status=$?
    if ((status && !result)); then
      result=$status stop_at=$((SECONDS + patience))
    fi
  done
  left=("${running[@]}")
  if [[ $stop_at ]] && ((!asked && SECONDS >= stop_at)); then
    tell_all TERM
    stop_at='' kill_at=${kill_at:-$((SECONDS + grace))}
  fi
  if [[ $kill_at ]] && ((SECONDS >= kill_at)); then
    tell_all KILL
    kill_at=''
  fi
  ((!${#left[@]})) || sleep 0.3
done
# Processes that were asked to stop and saved end with 143; after a Ctrl-C, the loop ends with 130.
((!asked || (result && result != 143))) || result=$asked
exit "$result"
