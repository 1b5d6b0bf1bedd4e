#!/usr/bin/env bash
# install-help.sh PREFIX: manual pages and completion of the command that is installed in PREFIX, where man and the
# shells look for them.
set -euo pipefail
prefix=$1
share=$prefix/share
container=$prefix/bin/container

install -d "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
"$container" --generate-manual "$share/man/man1"
"$container" --generate-completion-script bash > "$share/bash-completion/completions/container"
"$container" --generate-completion-script zsh > "$share/zsh/site-functions/_container"
"$container" --generate-completion-script fish > "$share/fish/vendor_completions.d/container.fish"
