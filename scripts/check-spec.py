#!/usr/bin/env python3
"""Check that each file and test which SPECIFICATION.md and SECURITY.md name exists.

The last cell of a table row names files, and after a file the tests in it. A file may be named by the end of its path. The file of a
module stands for the module's folder, too. Each wrong name is printed on a line, and the exit code is 1."""

import re
import subprocess
import sys

DOCUMENTS = ["SPECIFICATION.md", "SECURITY.md"]
FILE = re.compile(r"[\w./-]+\.(rs|sh|py)|(crates|tests|fuzz|bench|kernel|plugins)/[\w./-]+")
TEST = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+){2,}")

tracked = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split()
functions = {}  # name of a Rust function: the files that define one with this name
for path in tracked:
    if path.endswith(".rs"):
        with open(path, encoding="utf-8") as source:
            text = source.read()
        for name in re.findall(r"\bfn\s+(\w+)", text):
            functions.setdefault(name, set()).add(path)


def files(name):
    """The tracked files that `name` in a document stands for."""
    name = name.rstrip("/")
    found = {path for path in tracked if path == name or path.endswith("/" + name)}
    folders = [name] + [path[: -len(".rs")] for path in found if path.endswith(".rs")]
    for folder in folders:
        found |= {path for path in tracked if path.startswith(folder + "/") or "/" + folder + "/" in path}
    return found


missing = []
for document in DOCUMENTS:
    with open(document, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.startswith("|"):
                continue
            named = None
            for word in re.findall(r"`([^`]+)`", line.rstrip().rstrip("|").rsplit("|", 1)[-1]):
                if FILE.fullmatch(word):
                    named = (word, files(word))
                    if not named[1]:
                        missing.append(f"{document}:{number}: there is no {word}")
                elif TEST.fullmatch(word):
                    if word not in functions:
                        missing.append(f"{document}:{number}: no test is called {word}")
                    elif named and not functions[word] & named[1]:
                        missing.append(f"{document}:{number}: {word} is not in {named[0]}, but in {', '.join(sorted(functions[word]))}")

print("\n".join(missing), end="\n" if missing else "")
sys.exit(bool(missing))
