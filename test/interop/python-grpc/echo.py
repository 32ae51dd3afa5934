"""A gRPC server and a client of it with Python's grpcio, on bytes, without generated code.

`echo.py serve PORT` runs until it is ended. `echo.py call PORT` makes every kind of call and prints one JSON line a result.
"""
import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "countersign.interop.Bytes"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def unary(request, context):
    context.set_trailing_metadata([("x-trailer-bin", bytes([0, 255, 1]))])
    return request


def collect(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def repeat(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def converse(requests, context):
    yield from requests


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())


def wait(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(20)
    return b""


def serve(port):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=OPTIONS)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
        "Converse": grpc.stream_stream_rpc_method_handler(converse),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
    })])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def say(step, **fields):
    print(json.dumps({"step": step, **fields}), flush=True)


def call(port):
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
    path = f"/{SERVICE}/".__add__
    big = bytes(range(256)) * 16384
    answer, ended = channel.unary_unary(path("Unary")).with_call(big, timeout=30)
    trailers = {key: value for key, value in ended.trailing_metadata() if key == "x-trailer-bin"}
    say("unary", intact=answer == big, trailer=list(trailers["x-trailer-bin"]))
    say("collect", answer=channel.stream_unary(path("Collect"))(iter([b"x" * 1000] * 1000), timeout=30).decode())
    say("repeat", count=sum(1 for _ in channel.unary_stream(path("Repeat"))(b"5000", timeout=30)))
    said = [str(number).encode() for number in range(1000)]
    say("converse", same=list(channel.stream_stream(path("Converse"))(iter(said), timeout=30)) == said)
    try:
        channel.unary_unary(path("Fail"))("not ready: ünïcode".encode(), timeout=30)
    except grpc.RpcError as error:
        say("fail", code=error.code().name, details=error.details())
    started = time.monotonic()
    try:
        channel.unary_unary(path("Wait"))(b"", timeout=1)
    except grpc.RpcError as error:
        say("deadline", code=error.code().name, seconds=time.monotonic() - started)
    try:
        channel.unary_unary(path("Nothing"))(b"", timeout=30)
    except grpc.RpcError as error:
        say("unknown", code=error.code().name)
    waiting = channel.unary_unary(path("Wait")).future(b"", timeout=30)
    time.sleep(0.2)
    waiting.cancel()
    say("cancel", cancelled=waiting.cancelled())


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](int(sys.argv[2]))
