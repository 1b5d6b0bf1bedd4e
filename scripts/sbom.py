#!/usr/bin/env python3
"""sbom.py VERSION: what is compiled into the programs, as CycloneDX 1.5 JSON on standard output.

The crates are those of Cargo.lock that the programs need on this platform, without what only tests and builds need. The
same lock file gives the same bytes.
"""
import json
import subprocess
import sys

ROOTS = {
    "container-cli",
    "container-apiserver",
    "container-core-images",
    "container-network-bridge",
    "container-runtime-linux",
    "container-share-virtiofs",
    "container-k8s",
    "vminitd",
}


def main(version):
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

    def needed(node):
        return [
            dependency["pkg"]
            for dependency in node["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]

    found, queue = set(), [id for id, package in packages.items() if package["name"] in ROOTS]
    while queue:
        id = queue.pop()
        if id not in found:
            found.add(id)
            queue.extend(needed(nodes[id]))

    def reference(package):
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package):
        described = {
            "type": "library",
            "bom-ref": reference(package),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(package),
        }
        if package.get("license"):
            # Some still separate alternatives as Cargo once had it.
            described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        return described

    used = sorted((packages[id] for id in found), key=reference)
    dependencies = [
        {"ref": reference(package), "dependsOn": sorted(reference(packages[id]) for id in set(needed(nodes[package["id"]])))}
        for package in used
    ]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "container", "version": version}},
        "components": [component(package) for package in used],
        "dependencies": dependencies,
    }
    json.dump(bom, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
