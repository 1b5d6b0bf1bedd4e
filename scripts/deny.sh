#!/usr/bin/env bash
# cargo deny: licences, banned crates and sources of everything in Cargo.lock. Built once if it is missing.
set -euo pipefail

tools=target/tools
deny=$(command -v cargo-deny || true)
if [ -z "$deny" ]; then
    deny=$tools/bin/cargo-deny
    if [ ! -x "$deny" ]; then
        echo "building cargo-deny (once)"
        # How fast it runs does not matter; how fast it builds does.
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" --version '^0.20' cargo-deny
        rm -rf "$tools/build"
    fi
fi
"$deny" --all-features check licenses bans sources
