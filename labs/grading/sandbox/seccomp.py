"""System calls that the jail refuses.

They use memory that is not counted for any process, or access other processes.

The rules are a seccomp filter in the kernel's own form, for bubblewrap's --seccomp (Linux:
Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/filter.h). A refused call
returns "not implemented", so that libraries use another way if they know one.
"""

import errno
import platform
import struct

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED = {  # numbers on x86_64 and aarch64
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
}
_LOAD = 0x20
_IF_EQUAL = 0x15
_IF_AT_LEAST = 0x35
_RETURN = 0x06
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.ENOSYS
_NUMBER = 0  # its place in struct seccomp_data
_ARCH = 4
_X32 = 0x40000000  # from here on x86_64 has a second set of numbers


def program(machine: str = platform.machine()) -> bytes:
    """The filter for `machine` as the kernel reads it.

    It refuses nothing if the numbers of the machine's system calls are unknown.
    """
    if machine not in _AUDIT_ARCH:
        return _packed([(_RETURN, 0, 0, _ALLOW)])
    column = list(_AUDIT_ARCH).index(machine)
    tests = [(_IF_AT_LEAST, _X32)]
    tests += [(_IF_EQUAL, numbers[column]) for numbers in _REFUSED.values()]
    rules = [
        (_LOAD, 0, 0, _ARCH),
        (_IF_EQUAL, 0, len(tests) + 2, _AUDIT_ARCH[machine]),
        (_LOAD, 0, 0, _NUMBER),
    ]
    # each jumps to the last rule
    rules += [(code, len(tests) - i, 0, number) for i, (code, number) in enumerate(tests)]
    rules += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return _packed(rules)


def _packed(rules: list[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack("<HBBI", *rule) for rule in rules)
