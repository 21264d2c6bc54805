#!/usr/bin/env bash
# Installs the programs that tests talk through, where they are missing and this user may.
# At home a test without its program is skipped with one line; in CI it fails.
set -euo pipefail
missing=()
command -v curl >/dev/null || missing+=(curl)
command -v node >/dev/null || missing+=(nodejs)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "not installed: ${missing[*]}; tests that need them are skipped" >&2
fi
