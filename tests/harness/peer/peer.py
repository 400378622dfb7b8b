"""Servers that report the client address they see, and their clients. A client prints one line of JSON."""

import hashlib, ipaddress, json, os, select, socket, struct, sys, threading, time

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def plain(address):
    """An IPv4-mapped address as IPv4."""
    address = ipaddress.ip_address(address.split("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def serve(name, *ports):
    """Serves `PORT` or `FIRST-LAST` by TCP and UDP. A UDP reply is sent from the destination address of the request."""
    def reply(peer, port):
        return json.dumps({"name": name, "peer": plain(peer[0]), "peer_port": peer[1], "port": port}).encode()

    def tcp(listener, port):
        while True:
            client, peer = listener.accept()
            print("tcp", port, plain(peer[0]), flush=True)
            try:
                client.sendall(reply(peer, port))
                client.close()
            except OSError:
                pass

    def udp(receiver, port):
        while True:
            _, ancillary, _, peer = receiver.recvmsg(65535, 256)
            print("udp", port, plain(peer[0]), flush=True)
            info = [(level, kind, data) for level, kind, data in ancillary if kind == socket.IPV6_PKTINFO]
            try:
                receiver.sendmsg([reply(peer, port)], info, 0, peer)
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


def send_request(socket_type, address, port, bind_address, bind_port, timeout):
    """Sends a request by `tcp`, by a connected `udp` socket, or by `sendto` on an unconnected one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, STREAM if socket_type == "tcp" else DATAGRAM) as client:
        client.settimeout(timeout)
        if bind_address or bind_port:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((bind_address, int(bind_port or 0)))
        if socket_type == "sendto":
            client.sendto(b"?", (address, int(port)))
            reply, source = client.recvfrom(65535)
        else:
            client.connect((address, int(port)))
            if socket_type == "udp":
                client.send(b"?")
            source = client.getpeername()
            reply = client.recv(65535)
        reply = json.loads(reply)
        reply["from"], reply["from_port"] = plain(source[0]), source[1]
        reply["own_port"] = client.getsockname()[1]
        return reply


def send_requests(timeout, *requests):
    """Sends requests `TYPE,ADDRESS,PORT,BIND-ADDRESS,BIND-PORT`, all at the same time."""
    replies = [None] * len(requests)

    def run(number, request):
        try:
            replies[number] = send_request(*request.split(","), float(timeout))
        except (OSError, ValueError) as error:
            replies[number] = {"error": str(error) or type(error).__name__}

    threads = [threading.Thread(target=run, args=each) for each in enumerate(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(replies))


def ping(address, identifier, count, size, timeout):
    """Sends echo requests, one after the other; prints the number of replies with the same payload."""
    v6 = ":" in address
    raw = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW,
                        socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    replies = 0
    for sequence in range(int(count)):
        payload = os.urandom(int(size))
        echo = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, int(identifier), sequence) + payload
        if not v6:
            total = sum(struct.unpack("!%dH" % (len(echo) // 2), echo))
            total = (total >> 16) + (total & 0xFFFF)
            total += total >> 16
            echo = echo[:2] + struct.pack("!H", ~total & 0xFFFF) + echo[4:]
        try:
            raw.sendto(echo, (address, 0))
        except OSError:
            continue
        end = time.monotonic() + float(timeout)
        while (left := end - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
            packet, source = raw.recvfrom(65535)
            reply = packet if v6 else packet[4 * (packet[0] & 15):]
            if reply[0] == (129 if v6 else 0) and reply[4:] == echo[4:] and plain(source[0]) == address:
                replies += 1
                break
    print(json.dumps(replies))


BLOCK = 1 << 20


def blocks(count):
    """Distinct blocks of data."""
    body = os.urandom(BLOCK - 8)
    for number in range(count):
        yield struct.pack("!Q", number) + body


def send_blob(link, megabytes):
    """Sends data, followed by its digest."""
    digest = hashlib.sha256()
    for block in blocks(megabytes):
        digest.update(block)
        link.sendall(block)
    link.sendall(digest.digest())


def receive_blob(link, megabytes):
    """Receives data; returns whether it matches its digest."""
    digest, left = hashlib.sha256(), megabytes * BLOCK
    while left:
        data = link.recv(min(left, BLOCK))
        if not data:
            raise ValueError("%d bytes are missing" % left)
        digest.update(data)
        left -= len(data)
    return link.recv(32, socket.MSG_WAITALL) == digest.digest()


def blobs(port):
    """A server of data: the client sends a number of megabytes and the data, and receives as much."""
    listener = socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    print("serving", flush=True)

    def serve_one(client):
        with client:
            megabytes, = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
            client.sendall(b"1" if receive_blob(client, megabytes) else b"0")
            try:
                send_blob(client, megabytes)
            except OSError:
                pass

    while True:
        threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()


def exchange(address, port, megabytes, back):
    """The client of `blobs`; prints whether the data was intact in each direction. `back` 0 skips the second."""
    with socket.create_connection((address, int(port)), 10) as link:
        link.sendall(struct.pack("!I", int(megabytes)))
        send_blob(link, int(megabytes))
        sent = link.recv(1) == b"1"
        print(json.dumps([sent, not int(back) or receive_blob(link, int(megabytes))]))


def flood(*addresses):
    """Opens flows until it is killed: for each address, a datagram from a new socket and a TCP connection."""
    print("flooding", flush=True)
    while True:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for kind in DATAGRAM, STREAM:
                with socket.socket(family, kind) as client:
                    client.setblocking(False)
                    try:
                        client.connect_ex((address, 9))
                        if kind == DATAGRAM:
                            client.send(b"?")
                    except OSError:
                        pass
        time.sleep(0.002)


def datagram(address, port, size):
    """Sends a large datagram with DF repeatedly; prints the error and the path MTU."""
    v6 = ":" in address
    client = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, DATAGRAM)
    if v6:
        client.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO
    else:
        client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    client.connect((address, int(port)))
    for _ in range(20):
        try:
            client.send(b"x" * int(size))
        except OSError as error:
            print(json.dumps({"error": os.strerror(error.errno), "mtu": client.getsockopt(*((41, 24) if v6 else (0, 14)))}))
            return
        time.sleep(0.05)
    print(json.dumps({"error": None, "mtu": None}))


if __name__ == "__main__":
    commands = dict(serve=serve, request=send_requests, ping=ping, blobs=blobs, exchange=exchange, flood=flood,
                    datagram=datagram)
    commands[sys.argv[1]](*sys.argv[2:])
