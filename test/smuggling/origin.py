"""An HTTP/1.1 origin that says what it saw: one JSON line a request on stdout. `origin.py PORT`

Python's own http.server, with bodies read as simple programs read them: it forgives what a stricter server would refuse,
so that whatever a proxy lets through unread shows."""
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

printing = threading.Lock()


def say(**seen):
    with printing:
        print(json.dumps(seen), flush=True)


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def chunked_body(self):
        length = 0
        while True:
            size = int(self.rfile.readline().split(b";")[0].strip() or b"0", 16)
            if size <= 0:
                break
            length += len(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return length

    def body(self):
        if "chunked" in (self.headers.get("transfer-encoding") or "").lower():
            return self.chunked_body()
        return len(self.rfile.read(int(self.headers.get("content-length") or 0)))

    def answer(self):
        try:
            length = self.body()
        except (ValueError, OSError):
            self.close_connection = True
            length = None
        # as it came: self.path has lost its second slash
        target = self.requestline.split()[1]
        say(method=self.command, target=target, host=self.headers.get_all("host") or [], length=length)
        if length is None:
            return
        self.send_response(200)
        self.send_header("Content-Length", "0" if self.command == "HEAD" else "3")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"ok\n")

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def send_error(self, code, message=None, explain=None):
        say(refused=code, line=self.raw_requestline.decode("latin-1"))
        self.close_connection = True

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a connection that broke off


Server(("127.0.0.1", int(sys.argv[1])), Origin).serve_forever()
