#!/usr/bin/env bash
# One spelling in texts for users: "cannot". Comments of the sources are not looked at.
set -euo pipefail

wrong=$(git grep -nE "can't|can not\b" -- 'crates/*/src/*.rs' 'plugins/*/src/*.rs' crates/cli/tests/{help,messages,usage} tests/messages '*.md' |
    grep -vE '^[^:]+\.rs:[0-9]+: *//' || true)
if [ -n "$wrong" ]; then
    echo "\"cannot\" is meant:"
    echo "$wrong"
    exit 1
fi
