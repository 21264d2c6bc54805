#!/usr/bin/env bash
# Installs the programs that tests talk through, where they are missing and this user may.
# At home a test without its program is skipped with one line; in CI it fails.
set -euo pipefail
PATH=$PATH:/usr/sbin
missing=()
command -v curl >/dev/null || missing+=(curl)
command -v node >/dev/null || missing+=(nodejs)
command -v clickhouse-server >/dev/null || missing+=(clickhouse-server)
# The library alone: the package "zookeeper" adds a desktop's Java to it and nothing we use.
[ -e /usr/share/java/zookeeper.jar ] || missing+=(libzookeeper-java)
command -v java >/dev/null || missing+=(default-jre-headless)
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
command -v chromium >/dev/null || missing+=(chromium)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v openssl >/dev/null || missing+=(openssl)
# tests/faults makes calls on files fail, and clocks jump.
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
command -v faketime >/dev/null || missing+=(faketime)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  # Tests start their own servers; Debian's way to say that no package shall start one.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "not installed: ${missing[*]}; tests that need them are skipped" >&2
fi
