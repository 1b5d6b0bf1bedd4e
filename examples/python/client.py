#!/usr/bin/env python3
"""client.py list | start ID | exec ID COMMAND... | stop ID | events COUNT

A client of the container services in another language than theirs: the messages are made by protoc from the files in proto/,
the calls by grpcio on the service's Unix socket. It needs Debian's packages protobuf-compiler and python3-grpcio.

The socket is the one that the command itself would use; CONTAINER_SOCKET names another.
"""
import importlib
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import tempfile

import grpc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"


def messages():
    """The Python modules of api.proto and types.proto, made by protoc."""
    out = tempfile.TemporaryDirectory()
    files = [PROTO / "types.proto", PROTO / "api.proto"]
    subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={out.name}", *files], check=True)
    sys.path.insert(0, out.name)
    modules = importlib.import_module("api_pb2"), importlib.import_module("types_pb2")
    out.cleanup()
    return modules


def service():
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return os.environ.get("CONTAINER_SOCKET", f"{runtime}/container/apiserver.sock")


def hand_over(descriptors):
    """Gives descriptors to the service, beside the calls; gives the token that names them in one."""
    token = secrets.token_hex(16)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(service().removesuffix(".sock") + "-descriptors.sock")
        socket.send_fds(stream, [token.encode()], descriptors)
        if stream.recv(1) != b"+":
            raise ConnectionError("the service does not take the descriptors")
    return token


class Containers:
    """The service container.api.v1.Containers."""

    def __init__(self, channel, api, types):
        self.channel, self.api, self.types = channel, api, types

    def _call(self, make, name, request):
        reply = self.api.DESCRIPTOR.services_by_name["Containers"].methods_by_name[name].output_type
        call = make(
            f"/container.api.v1.Containers/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=(getattr(self.api, reply.name, None) or getattr(self.types, reply.name)).FromString,
        )
        return call(request)

    def list(self):
        reply = self._call(self.channel.unary_unary, "List", self.api.ListRequest())
        return json.loads(reply.containers)

    def start(self, id):
        return self._call(self.channel.unary_unary, "Start", self.api.StartRequest(id=id))

    def exec(self, id, words):
        """Runs words in a container, with what its own process has where nothing else is said; gives the exit code."""
        stdio = self.types.Stdio(token=hand_over([1, 2]), stdout=True, stderr=True)
        request = self.api.ExecRequest(id=id, words=words, options=b"{}", stdio=stdio)
        process = self._call(self.channel.unary_unary, "Exec", request).process
        request = self.api.WaitRequest(id=id, process=process)
        return self._call(self.channel.unary_unary, "Wait", request).exit_code

    def stop(self, id):
        return self._call(self.channel.unary_unary, "Stop", self.api.StopRequest(id=id))

    def events(self):
        return self._call(self.channel.unary_stream, "Events", self.api.EventsRequest())


def main(arguments):
    api, types = messages()
    with grpc.insecure_channel(f"unix://{service()}") as channel:
        containers = Containers(channel, api, types)
        match arguments:
            case ["list"]:
                for container in containers.list():
                    print(container["id"], container["status"]["state"])
            case ["start", id]:
                reply = containers.start(id)
                print("running already" if reply.already_running else "started", *reply.warnings)
            case ["exec", id, *words]:
                return containers.exec(id, words)
            case ["stop", id]:
                containers.stop(id)
                print("stopped")
            case ["events", count]:
                print("listening", flush=True)
                for _, event in zip(range(int(count)), containers.events()):
                    event = json.loads(event.event)
                    print(event["action"], event["id"], flush=True)
            case _:
                print(__doc__, file=sys.stderr)
                return 64
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except grpc.RpcError as error:
        print(f"client.py: {error.details()}", file=sys.stderr)
        sys.exit(1)
