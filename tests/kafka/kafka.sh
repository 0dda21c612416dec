#!/bin/sh
# Apache Kafka as one KRaft node on loopback, for tests and for people.
#
#   kafka.sh fetch       gets Kafka from Maven Central into target/kafka, once; the others do it too when needed
#   kafka.sh start DIR   starts a node whose ports, data, certificates and log are in DIR, and waits until it serves
#   kafka.sh stop DIR    asks it to end, and waits until it has
#   kafka.sh kill DIR    ends it at once (SIGKILL); start DIR again keeps ports and data
#   kafka.sh hold [DIR]  start, print DIR/env, wait until standard input closes, stop; without DIR everything is
#                        in a temporary directory that goes away with it
#   kafka.sh serve DIR   the same for a person: start, say how to use it, stop at Ctrl-C
#
# DIR/env tells programs where the node is, one key=value a line. Listeners of every node: plaintext, TLS, mutual
# TLS, SASL with and without TLS; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 know one user.
#
# Variables: CARGO_TARGET_DIR; KAFKA_JVM_OPTS instead of the options for a small, quickly started machine.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
lib=$target/kafka/lib-$version
user=purkinje
# Seconds that a start may take, on a busy machine.
start_within_s=120
# Compiled by the quick compiler only: a test broker lives too short a time for the other one to pay.
jvm_opts=${KAFKA_JVM_OPTS:--Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}

fail() {
  echo "kafka.sh: $*" >&2
  exit 1
}

fetch() {
  [ -d "$lib" ] && return
  for tool in java mvn; do
    command -v $tool >/dev/null || fail "needs $tool, which 'make test' installs"
  done
  echo "fetching Apache Kafka $version from Maven Central" >&2
  mkdir -p "$target/kafka"
  # Into a directory of its own first: who finds lib-VERSION finds all of it.
  half=$(mktemp -d "$target/kafka/fetch.XXXXXX")
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$(cd "$half" && pwd)" >"$target/kafka/fetch.log" 2>&1 || {
    rm -rf "$half"
    cat "$target/kafka/fetch.log" >&2
    fail "Maven could not fetch Apache Kafka $version"
  }
  # Someone else may have been quicker.
  if [ -d "$lib" ] || ! mv "$half" "$lib"; then rm -rf "$half"; fi
}

pid_of() {
  cat "$1/pid" 2>/dev/null || true
}

# Whether a process is there and alive: an ended one stays until its parent asks, and some never do.
is_running() {
  [ -n "$1" ] && kill -0 "$1" 2>/dev/null && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}

# Six ports that nobody listens on, below those that systems give to clients, so that a node that was killed
# finds them free again.
choose_ports() {
  listening=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true)
  while :; do
    base=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 2000 * 6))
    taken=
    for i in 0 1 2 3 4 5; do
      case $listening in *":$(printf %04X $((base + i))) "*) taken=1 ;; esac
    done
    [ -n "$taken" ] || break
  done
}

# certificate NAME ISSUER SUBJECT EXTENSIONS: NAME.pem and NAME.key; an ISSUER of the same name signs itself.
certificate() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$3" \
    -keyout "$1.key" -out "$1.csr" 2>/dev/null || return
  if [ "$1" = "$2" ]; then sign="-signkey $1.key"; else sign="-CA $2.pem -CAkey $2.key -CAcreateserial"; fi
  echo "$4" >"$1.ext"
  # shellcheck disable=SC2086 # the options are words
  openssl x509 -req -in "$1.csr" $sign -days 3650 -sha256 -extfile "$1.ext" -out "$1.pem" 2>/dev/null || return
  rm -f "$1.csr" "$1.ext"
}

make_certificates() {
  command -v openssl >/dev/null || fail "needs openssl, which 'make test' installs"
  (
    mkdir -p "$1/tls" && cd "$1/tls" &&
      certificate ca ca "purkinje test CA" "basicConstraints=critical,CA:TRUE" &&
      certificate stranger stranger "somebody else's CA" "basicConstraints=critical,CA:TRUE" &&
      certificate server ca localhost "subjectAltName=DNS:localhost,IP:127.0.0.1" &&
      certificate client ca "$user" "extendedKeyUsage=clientAuth" &&
      cat server.key server.pem >server-chain.pem
  ) || fail "openssl could not make certificates in $1/tls"
}

write_properties() {
  cat >"$1/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$base
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=CONTROLLER://127.0.0.1:$base,PLAINTEXT://127.0.0.1:$((base + 1)),TLS://127.0.0.1:$((base + 2)),\
MUTUAL://127.0.0.1:$((base + 3)),SASL://127.0.0.1:$((base + 4)),SASLTLS://127.0.0.1:$((base + 5))
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_PLAINTEXT,\
SASLTLS:SASL_SSL
log.dirs=$1/data

ssl.keystore.type=PEM
ssl.keystore.location=$1/tls/server-chain.pem
ssl.truststore.type=PEM
ssl.truststore.location=$1/tls/ca.pem
listener.name.mutual.ssl.client.auth=required
END
  for listener in sasl sasltls; do
    echo "listener.name.$listener.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
    echo "listener.name.$listener.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_$user=\"$password\";"
    for scram in scram-sha-256 scram-sha-512; do
      echo "listener.name.$listener.$scram.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;"
    done
  done >>"$1/server.properties"
  cat >>"$1/server.properties" <<END

auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
# A killed node is welcome again only after its session.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
# Small: few threads, and compaction that tests can wait for.
num.network.threads=1
num.io.threads=2
background.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.io.buffer.size=131072
log.cleaner.backoff.ms=500
END
}

write_env() {
  cat >"$1/env" <<END
dir=$1
version=$version
bootstrap=127.0.0.1:$((base + 1))
tls=127.0.0.1:$((base + 2))
mutual_tls=127.0.0.1:$((base + 3))
sasl_plaintext=127.0.0.1:$((base + 4))
sasl_tls=127.0.0.1:$((base + 5))
ca=$1/tls/ca.pem
stranger_ca=$1/tls/stranger.pem
client_certificate=$1/tls/client.pem
client_key=$1/tls/client.key
username=$user
password_file=$1/password
END
}

# Gives a new DIR everything but data.
prepare() {
  umask 077
  random=$(openssl rand -base64 16 | tr '+/' '-_' | tr -d '=')
  password=$(openssl rand -hex 12)
  echo "$password" >"$1/password"
  [ -d "$1/tls" ] || make_certificates "$1"
  choose_ports
  write_properties "$1"
  rm -rf "$1/data"
  # An id may not begin with a hyphen: it would look like an option.
  java $jvm_opts -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$lib/*" \
    kafka.tools.StorageTool format --config "$1/server.properties" \
    --cluster-id "$(echo "$random" | sed 's/^-/A/')" \
    --add-scram "SCRAM-SHA-256=[name=$user,password=$password]" \
    --add-scram "SCRAM-SHA-512=[name=$user,password=$password]" >"$1/format.log" 2>&1 || {
    cat "$1/format.log" >&2
    fail "$1: the storage cannot be formatted"
  }
  # Last, because a DIR with it counts as prepared.
  write_env "$1"
}

# Starts the process; 0: it serves, 1: it ended, 2: a port was taken.
launch() {
  [ ! -f "$1/server.log" ] || cat "$1/server.log" >>"$1/server.log.before"
  : >"$1/server.log"
  # Standard input must not be that of 'hold', whose end tells that its owner is gone.
  # shellcheck disable=SC2086 # the options are words
  java $jvm_opts -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$lib/*" \
    kafka.Kafka "$1/server.properties" >"$1/server.log" 2>&1 </dev/null &
  pid=$!
  echo $pid >"$1/pid"
  waited=0
  until grep -q 'Kafka Server started' "$1/server.log"; do
    if ! is_running $pid; then
      rm -f "$1/pid"
      grep -q 'Address already in use' "$1/server.log" && return 2
      return 1
    fi
    [ $waited -lt $((start_within_s * 10)) ] || {
      kill -9 $pid
      return 1
    }
    sleep 0.1
    waited=$((waited + 1))
  done
}

start() {
  fetch
  ! is_running "$(pid_of "$1")" || fail "$1: already running, process $(pid_of "$1")"
  for attempt in 1 2 3 4 5; do
    is_new=
    [ -f "$1/env" ] || is_new=1
    [ -z "$is_new" ] || prepare "$1"
    result=0
    launch "$1" || result=$?
    case $result in
      0) return ;;
      1)
        tail -n 20 "$1/server.log" >&2
        fail "$1: Kafka did not start; the log is $1/server.log"
        ;;
    esac
    # A new node moves on; one that had its ports before keeps them, and whoever took them may leave.
    if [ -n "$is_new" ]; then rm -f "$1/env"; else sleep 1; fi
  done
  fail "$1: ports were taken $attempt times; the log is $1/server.log"
}

# end DIR SIGNAL
end() {
  pid=$(pid_of "$1")
  if is_running "$pid"; then
    kill "-$2" "$pid"
    waited=0
    while is_running "$pid"; do
      # A machine that does not end within 20 s never will.
      [ $waited -ne 200 ] || kill -9 "$pid"
      sleep 0.1
      waited=$((waited + 1))
    done
  fi
  rm -f "$1/pid"
}

hold() {
  if [ -n "$1" ]; then
    dir=$1
    signal=TERM
  else
    dir=$(mktemp -d "${TMPDIR:-/tmp}/purkinje-kafka.XXXXXX")
    signal=KILL
  fi
  # shellcheck disable=SC2064 # which node it is, is known now
  trap "end '$dir' $signal; [ $signal = TERM ] || rm -rf '$dir'" EXIT
  trap 'exit 130' INT TERM HUP
  start "$dir"
  cat "$dir/env"
  echo ready
  # Standard output is closed, so that who reads it sees the end.
  exec >&-
  cat >/dev/null
}

serve() {
  # shellcheck disable=SC2064 # which node it is, is known now
  trap "end '$1' TERM" EXIT
  trap 'exit 0' INT TERM HUP
  start "$1"
  get() { sed -n "s/^$1=//p" "$dir/env"; }
  cat <<END
Apache Kafka $version serves at
  plaintext               $(get bootstrap)
  TLS                     $(get tls), CA $(get ca)
  TLS, both sides         $(get mutual_tls), client $(get client_certificate) and $(get client_key)
  login                   $(get sasl_plaintext), user $user, password in $(get password_file)
  login over TLS          $(get sasl_tls)
Log $1/server.log; all of this for programs: $1/env
To publish there:
  purkinje kafka topics --create --set kafka.brokers=$(get bootstrap)
  purkinje run --set kafka.brokers=$(get bootstrap)
Ctrl-C stops it.
END
  while is_running "$(pid_of "$1")"; do sleep 1; done
  fail "$1: Kafka ended by itself; the log is $1/server.log"
}

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

verb=${1:-}
dir=${2:-}
if [ -n "$dir" ]; then
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
fi
case $verb in
  fetch) fetch ;;
  hold) hold "$dir" ;;
  start | stop | kill | serve)
    [ -n "$dir" ] || usage
    case $verb in
      start) start "$dir" ;;
      serve) serve "$dir" ;;
      stop) end "$dir" TERM ;;
      kill) end "$dir" KILL ;;
    esac
    ;;
  *) usage ;;
esac
