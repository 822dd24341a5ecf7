"""A model server for tests: it knows one capital, and says which devices it sees.

  POST /v1/completions   OpenAI's form; " Paris." to everything
  GET /devices           names in /dev
  GET /asked             how many questions were asked
"""

import json
import os
import socket

SOCKET = "/run/workload/http.sock"


def respond(connection, asked):
    reader = connection.makefile("rb")
    line = reader.readline().decode()
    length = 0
    while (field := reader.readline().strip()):
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    reader.read(length)
    if line.startswith("POST /v1/completions "):
        asked += 1
        answer = {"choices": [{"text": " Paris.", "index": 0}]}
    elif line.startswith("GET /devices "):
        answer = sorted(os.listdir("/dev"))
    else:
        answer = asked
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection.sendall(head.encode() + body)
    return asked


def main():
    asked = 0
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(SOCKET)
        server.listen()
        while True:
            connection, _ = server.accept()
            with connection:
                asked = respond(connection, asked)


main()
