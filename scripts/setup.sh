#!/bin/sh
# Installs the Debian packages named that are missing (with sudo when not root) and checks for Swift.
set -eu

missing=""
if command -v dpkg-query >/dev/null 2>&1; then
  for package in "$@"; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
  done
else
  echo "setup: not a Debian system; these must be there by other means: $*" >&2
fi
if [ -n "$missing" ]; then
  echo "== installing:$missing =="
  sudo=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
      echo "setup: not root and no sudo; as root: apt-get install$missing" >&2
      exit 1
    }
    sudo="sudo"
  fi
  # The list of packages of a new machine may be empty or old: one refresh, then one more try.
  $sudo apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 || {
    $sudo apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $missing >/dev/null
  }
fi

command -v swift >/dev/null 2>&1 || {
  echo "setup: no Swift found; install Swift 6.3 from https://www.swift.org/install and put it in PATH" >&2
  exit 1
}
