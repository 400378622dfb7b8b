"""A link between two network namespaces without an Ethernet header: a tun device in each, and a process that copies packets.

With offloads, the devices pass large segments and partial checksums, as a virtual machine's or a VPN's device does."""

import ctypes, fcntl, os, struct, sys, threading

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
CSUM_TSO4_TSO6 = 0x01 | 0x02 | 0x04
CLONE_NEWNET = 0x40000000


def enter(path):
    with open(path) as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns " + path)


def tun(name, offloads):
    device = os.open("/dev/net/tun", os.O_RDWR)
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if offloads else 0)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    if offloads:
        fcntl.ioctl(device, TUNSETOFFLOAD, CSUM_TSO4_TSO6)
    return device


def copy(source, destination):
    while True:
        packet = os.read(source, 1 << 17)
        try:
            os.write(destination, packet)
        except OSError:
            # The device is down.
            pass


def main(name, offloads, *namespaces):
    devices = []
    for namespace in namespaces:
        enter(namespace)
        devices.append(tun(name, offloads == "1"))
    left, right = devices
    threading.Thread(target=copy, args=(left, right), daemon=True).start()
    print("ready", flush=True)
    copy(right, left)


main(*sys.argv[1:])
