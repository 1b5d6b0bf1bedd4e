"""What the plugins here share: messages made by protoc, and the sockets that the apiserver has opened for them.

It is installed in a plugin's `resources`, beside the .proto files. It needs Debian's python3-grpcio and protobuf-compiler.
"""
import array
import importlib
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from concurrent import futures

import grpc

RESOURCES = pathlib.Path(__file__).resolve().parent
# What this speaks (proto/README.md, "Changes").
PROTOCOL = 1
# The first descriptor that is handed over, and how long a token is.
FIRST, TOKEN = 3, 32
# Seconds that descriptors wait for their call.
EXPIRY = 30
# Calls that are served at a time: Wait takes one for as long as a process lives.
CALLS = 64


def messages(*names):
    """The Python modules of those .proto files, made by protoc."""
    out = tempfile.TemporaryDirectory()
    files = [RESOURCES / f"{name}.proto" for name in names]
    subprocess.run(["protoc", f"-I{RESOURCES}", f"--python_out={out.name}", *files], check=True)
    sys.path.insert(0, out.name)
    modules = [importlib.import_module(f"{name}_pb2") for name in names]
    out.cleanup()
    return modules


def inherited():
    """The listening sockets for calls and for descriptors, and the numbers of what else was handed over."""
    count = int(os.environ["CONTAINER_LISTEN_FDS"])
    further = int(os.environ.get("CONTAINER_FURTHER_FDS", "0"))
    for number in range(FIRST, FIRST + count + further):
        os.set_inheritable(number, False)
    listeners = [socket.socket(fileno=FIRST + index) for index in range(count)]
    for listener in listeners:
        listener.setblocking(True)
    return listeners, list(range(FIRST + count, FIRST + count + further))


def accepted(listener):
    """Connections of this user and of root: whoever else got to the socket is not served."""
    while True:
        stream, _ = listener.accept()
        _, uid, _ = struct.unpack("3i", stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid in (0, os.geteuid()):
            yield stream
        else:
            stream.close()


class Descriptors:
    """Descriptors that are handed over, each set under its token until a call names that."""

    def __init__(self, listener):
        self.waiting = {}
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener):
        for stream in accepted(listener):
            with stream:
                stream.settimeout(5)
                try:
                    token, descriptors, _, _ = socket.recv_fds(stream, TOKEN, 16)
                    self.waiting[token.decode()] = descriptors
                    # A call that is refused takes none: whoever reads them waits for their end.
                    expiry = threading.Timer(EXPIRY, self._drop, [token.decode()])
                    expiry.daemon = True
                    expiry.start()
                    stream.sendall(b"+")
                except OSError:
                    continue

    def _drop(self, token):
        for descriptor in self.waiting.pop(token, []):
            os.close(descriptor)

    def take(self, token):
        return self.waiting.pop(token, None)


def send_tap(descriptor, name, tap):
    """Gives a tap back on the socket `descriptor`: the length, with the tap beside it, and JSON."""
    text = b'{"name": "%s"}' % name.encode()
    with socket.socket(fileno=descriptor) as stream:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tap]))
        stream.sendmsg([struct.pack("<I", len(text))], [rights])
        stream.sendall(text)


def _copy(source, target):
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(listener, service, calls):
    """Serves `calls` (by name: the request's type and a function) on `listener`; gives what ends that.

    grpcio takes no socket that listens already. So it has one of its own, in the current directory, to which every connection is led on.
    """
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            function,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for name, (request, function) in calls.items()
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=CALLS))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    own = f".rpc-{os.getpid()}.sock"
    server.add_insecure_port(f"unix:{own}")
    server.start()

    def lead():
        for stream in accepted(listener):
            inner = socket.socket(socket.AF_UNIX)
            inner.connect(own)
            for pair in ((stream, inner), (inner, stream)):
                threading.Thread(target=_copy, args=pair, daemon=True).start()

    threading.Thread(target=lead, daemon=True).start()

    def end(grace):
        server.stop(grace).wait()
        pathlib.Path(own).unlink(missing_ok=True)

    return end
