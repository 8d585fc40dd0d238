# Starting and ending the server under test; sourced by bash scripts.
#
#   port=$(free_port)
#   start_server "$port" LOG COMMAND...   sets server_pid once the port accepts
#   stop_server                           SIGTERM; fails if the server does not end in time

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_server() {
  local port=$1 log=$2 deadline
  shift 2
  "$@" > "$log" 2>&1 &
  server_pid=$!
  deadline=$((SECONDS + 20))
  until (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do
    if ! kill -0 "$server_pid" 2> /dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      echo "the server did not listen on port $port: $*" >&2
      tail -n 20 "$log" >&2
      stop_server
      return 1
    fi
    sleep 0.02
  done
}

stop_server() {
  local deadline=$((SECONDS + 20))
  [ -n "${server_pid:-}" ] || return 0
  kill -TERM "$server_pid" 2> /dev/null || true
  while kill -0 "$server_pid" 2> /dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "the server (pid $server_pid) did not end on SIGTERM; killed" >&2
      kill -KILL "$server_pid" 2> /dev/null || true
      wait "$server_pid" 2> /dev/null || true
      server_pid=
      return 1
    fi
    sleep 0.02
  done
  wait "$server_pid" 2> /dev/null || true
  server_pid=
}
