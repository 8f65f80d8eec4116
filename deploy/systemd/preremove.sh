#!/bin/sh
# Stops the service before the package is removed. An upgrade (deb: "upgrade", rpm: 1) does
# not restart it: the operator restarts one replica after the other.
set -e
case "$1" in
remove | 0)
  command -v systemctl >/dev/null 2>&1 && [ -d /run/systemd/system ] && systemctl disable --now tollbridge.service
  ;;
esac
exit 0
