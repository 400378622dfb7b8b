"""A server that says whom it saw, and a client that asks many servers at once. Everything is one line of JSON."""

import ipaddress, json, socket, sys, threading

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def plain(address):
    """A v4-mapped address as IPv4."""
    address = ipaddress.ip_address(address.split("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def serve(name, *ports):
    """`PORT` or `FIRST-LAST`, TCP and UDP, all addresses of both families. A UDP answer comes from the asked address."""
    def answer(peer, port):
        return json.dumps({"name": name, "peer": plain(peer[0]), "peer_port": peer[1], "port": port}).encode()

    def tcp(listener, port):
        while True:
            client, peer = listener.accept()
            try:
                client.sendall(answer(peer, port))
                client.close()
            except OSError:
                pass

    def udp(receiver, port):
        while True:
            _, ancillary, _, peer = receiver.recvmsg(65535, 256)
            info = [(level, kind, data) for level, kind, data in ancillary if kind == socket.IPV6_PKTINFO]
            try:
                receiver.sendmsg([answer(peer, port)], info, 0, peer)
            except OSError:
                pass

    for text in ports:
        first, _, last = text.partition("-")
        for port in range(int(first), int(last or first) + 1):
            for kind, loop in (DATAGRAM, udp), (STREAM, tcp):
                server = socket.socket(socket.AF_INET6, kind)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                server.bind(("::", port))
                if kind == STREAM:
                    server.listen(64)
                threading.Thread(target=loop, args=(server, port), daemon=True).start()
    print("serving", flush=True)
    threading.Event().wait()


def ask(how, address, port, bind_address, bind_port, timeout):
    """`tcp`, `udp` with connect, or `sendto` without."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, STREAM if how == "tcp" else DATAGRAM) as client:
        client.settimeout(timeout)
        if bind_address or bind_port:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((bind_address, int(bind_port or 0)))
        if how == "sendto":
            client.sendto(b"?", (address, int(port)))
            answer, source = client.recvfrom(65535)
        else:
            client.connect((address, int(port)))
            if how == "udp":
                client.send(b"?")
            source = client.getpeername()
            answer = client.recv(65535)
        answer = json.loads(answer)
        answer["from"], answer["from_port"] = plain(source[0]), source[1]
        answer["own_port"] = client.getsockname()[1]
        return answer


def ask_all(timeout, *questions):
    """`HOW,ADDRESS,PORT,BIND-ADDRESS,BIND-PORT` each, all at the same time."""
    answers = [None] * len(questions)

    def run(number, question):
        try:
            answers[number] = ask(*question.split(","), float(timeout))
        except (OSError, ValueError) as error:
            answers[number] = {"error": str(error) or type(error).__name__}

    threads = [threading.Thread(target=run, args=each) for each in enumerate(questions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(answers))


if __name__ == "__main__":
    {"serve": serve, "ask": ask_all}[sys.argv[1]](*sys.argv[2:])
