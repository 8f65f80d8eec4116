#!/bin/sh
# Makes the user and the folders of the service. It does not start the service, which needs a
# configuration first.
set -e
command -v systemd-sysusers >/dev/null 2>&1 && systemd-sysusers tollbridge.conf
command -v systemd-tmpfiles >/dev/null 2>&1 && systemd-tmpfiles --create tollbridge.conf
command -v systemctl >/dev/null 2>&1 && [ -d /run/systemd/system ] && systemctl daemon-reload
exit 0
