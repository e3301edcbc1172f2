#!/bin/sh
# Starts a Redis or a Sentinel in any image that has redis-server: official ones, Alpine's, Debian's.
#
#   start.sh redis | sentinel | check PORT
#
# Both rewrite their settings as roles change, and a server that comes back must come back as what it was last told to be:
# settings live beside the data, in the volume, and are made from the templates here only where there are none yet.
set -eu

templates=$(dirname "$0")
# ":PASSWORD@", as it stands in the cluster's Redis URL; no password where it is empty. It must need no escaping in an URL.
password=${REDIS_CREDENTIALS:-}
password=${password#:}
password=${password%@}

seed() {
    umask 077
    sed -e "s/@OWN_IP@/$OWN_IP/" -e "s/@FIRST_PRIMARY_IP@/$FIRST_PRIMARY_IP/" \
        -e "s/@DOWN_AFTER_MS@/${DOWN_AFTER_MS:-}/" -e "s/@FAILOVER_TIMEOUT_MS@/${FAILOVER_TIMEOUT_MS:-}/" \
        -e "s/@MAXMEMORY@/${MAXMEMORY:-}/" "$templates/$1.conf" >"/data/$1.conf.new"
    case $1 in
    redis)
        [ "$OWN_IP" = "$FIRST_PRIMARY_IP" ] || echo "replicaof $FIRST_PRIMARY_IP 6379" >>/data/redis.conf.new
        [ -z "$password" ] || printf 'requirepass %s\nmasterauth %s\n' "$password" "$password" >>/data/redis.conf.new
        ;;
    sentinel)
        [ -z "$password" ] || echo "sentinel auth-pass mesolite $password" >>/data/sentinel.conf.new
        ;;
    esac
    # Whole or not at all: a start that was cut short is to begin again.
    mv "/data/$1.conf.new" "/data/$1.conf"
}

case ${1:-} in
redis)
    [ -s /data/redis.conf ] || seed redis
    exec redis-server /data/redis.conf
    ;;
sentinel)
    [ -s /data/sentinel.conf ] || seed sentinel
    exec redis-server /data/sentinel.conf --sentinel
    ;;
check)
    [ -z "$password" ] || [ "$2" != 6379 ] || export REDISCLI_AUTH="$password"
    # A server that loads its data answers with LOADING; redis-cli reports errors of the server with status 0.
    [ "$(redis-cli -p "$2" ping)" = PONG ]
    ;;
*)
    echo "start.sh: redis, sentinel or check PORT" >&2
    exit 2
    ;;
esac
