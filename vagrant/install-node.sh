#!/bin/sh
# Node 22 for a fresh Debian: the distribution's npm fetches it from the npm registry. Run as root; running again is fine.
set -eu
export DEBIAN_FRONTEND=noninteractive

case "$(node --version 2>/dev/null || true)" in
  v22.*) exit 0 ;;
esac
apt-get -q update
apt-get -q install -y --no-install-recommends ca-certificates nodejs npm
# The package "node" carries Node's own builds; npm of that generation goes with it.
npm install --global --no-audit --no-fund node@22 npm@10
hash -r
node --version
npm --version
