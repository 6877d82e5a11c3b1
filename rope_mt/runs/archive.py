"""The file of a checkpoint, looked through before torch reads it.

`torch.load` compares no CRC32, and believes what a file says of its tensors: one that claims more numbers than its
member holds would be read from beyond it. So the file is held to what `torch.save` writes: a zip of stored members, a
pickle of plain values and dense tensors, and behind it, as the comment of the zip, a digest over names, sizes and CRC32
of all members. What is looked through must be what torch then reads, with a reader of zips and of pickles of its own.
"""

import hashlib
import io
import math
import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections import OrderedDict
from typing import IO, Any

BLOCK = 1 << 22
END = struct.Struct("<4s4H2LH")  # a zip's last record, before its comment
END_64, LOCATOR = struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")  # before it, where sizes may need 64 bits
HEX = 64  # digits of the digest
NAME = re.compile(r"[a-z0-9._/]+")  # of a member
SIZES = {1: "Bool Byte Char", 2: "Short Half BFloat16", 4: "Int Float", 8: "Long Double"}
ITEM = {f"{kind}Storage": size for size, kinds in SIZES.items() for kind in kinds.split()}  # bytes of a number
OPCODES = {  # those of pickle's protocol 2 for plain values
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET"),
    *("LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1"),
    *("TUPLE2", "TUPLE3"),
}
KEYS = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"}  # those that make what may be a key of a dict


def seal(file: IO[bytes], reader: IO[bytes]) -> None:
    """Append the digest to what `torch.save` has written.

    Args:
        file: where it was written, up to its end.
        reader: the same file, open for reading.

    Raises:
        zipfile.BadZipFile: it is not all there.
    """
    with zipfile.ZipFile(reader) as archive:
        comment = _digest(archive)
    file.seek(-2, os.SEEK_END)  # the length of the comment, until here 0
    file.write(struct.pack("<H", HEX) + comment)


def refuse_unsound(file: IO[bytes]) -> None:
    """Look through all of a file.

    Raises:
        ValueError, or what pickle and zipfile raise: it is damaged, or not a file that `torch.save` and `seal` made.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - END.size - HEX))
    end = file.read()
    if len(end) != END.size + HEX or (end[:4], end[END.size - 2 : END.size]) != (b"PK\5\6", struct.pack("<H", HEX)):
        raise ValueError("it is cut off, or was not sealed")
    _refuse_two_directories(file, length - END.size - HEX)
    with zipfile.ZipFile(file) as archive:
        if end[END.size :] != _digest(archive):
            raise ValueError("its members are not those that were written")
        members = archive.infolist()
        if members[0].header_offset or sum(member.file_size for member in members) > length:
            raise ValueError("its members are not one behind the other")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise ValueError("a member is compressed")
            with archive.open(member) as content:
                while content.read(BLOCK):  # which compares the CRC32 at the end
                    pass
        sizes = {member.filename: member.file_size for member in members}
        top = members[0].filename.partition("/")[0]
        # torch takes upper for lower case, and neither ends a name at a zero byte nor decodes it
        plain = all(NAME.fullmatch(member.orig_filename) and member.orig_filename in sizes for member in members)
        if not plain or len(sizes) != len(members) or any(not name.startswith(f"{top}/") for name in sizes):
            raise ValueError("its members have not the names that torch gives")
        pickled = archive.read(f"{top}/data.pkl")
    prefix = f"{top}/data/"
    _refuse_claims(pickled, {n.removeprefix(prefix): size for n, size in sizes.items() if n.startswith(prefix)})


def _refuse_two_directories(file: IO[bytes], end: int) -> None:
    """Refuse a zip whose directory torch may look for elsewhere than Python: not right before the records of its end.

    Args:
        end: where its last record is.

    Raises:
        ValueError: it is so.
    """
    before = end - END_64.size - LOCATOR.size
    file.seek(max(0, before))
    tail = file.read(end + END.size - max(0, before))
    *_, size, start, _ = END.unpack(tail[-END.size :])
    if before >= 0 and tail[END_64.size :].startswith(b"PK\6\7"):
        mark, *_, size, start = END_64.unpack(tail[: END_64.size])
        _, _, at, _ = LOCATOR.unpack(tail[END_64.size : -END.size])
        if (mark, at) != (b"PK\6\6", before):
            raise ValueError("its end is not where it says")
        end = before
    if start + size != end:
        raise ValueError("its directory is not where it says")


def _digest(archive: zipfile.ZipFile) -> bytes:
    told = [(m.filename, m.file_size, m.CRC, m.header_offset) for m in archive.infolist()]
    return hashlib.sha256(repr(told).encode()).hexdigest().encode()


def _refuse_claims(pickled: bytes, storages: dict[str, int]) -> None:
    """Refuse a pickle that names anything but dense tensors, each within its storage; nothing of it is made.

    Args:
        storages: the bytes of each, by its key.

    Raises:
        ValueError, TypeError, pickle.UnpicklingError and others: it is not a pickle of such tensors.
    """
    _refuse_strange_keys(pickled)
    _Claims(pickled, storages).load()


def _refuse_strange_keys(pickled: bytes) -> None:
    """Refuse keys other than strings and integers: a tuple of tuples, each named twice, is hashed for ever.

    Followed is by which opcode each value was made; where the stack is not as a pickle's is, `_Claims` refuses it.

    Raises:
        ValueError, LookupError, pickle.UnpicklingError: there is one, or another opcode than those of plain values.
    """
    stack: list[str] = []
    below: list[list[str]] = []  # the stacks before each mark
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(pickled):
        name, number = opcode.name, argument if isinstance(argument, int) else 0
        if name not in OPCODES or (name == "LONG_BINPUT" and number > len(pickled)):
            raise pickle.UnpicklingError(f"it has the opcode {name}")
        keys: list[str] = []
        if name == "SETITEM":
            keys = [stack[-2]]
        elif name == "SETITEMS":
            keys = stack[::2]
        if not KEYS.issuperset(keys):
            raise pickle.UnpicklingError("a key is neither text nor an integer")
        if name == "MARK":
            below.append(stack)
            stack = []
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[number] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[number])
        else:
            taken = [each.name for each in opcode.stack_before]
            if "mark" in taken:
                stack, taken = below.pop(), taken[: taken.index("mark")]
            del stack[len(stack) - len(taken) :]
            stack += [name] * len(opcode.stack_after)


class _Claims(pickle.Unpickler):
    """Reads what a pickle claims of tensors, with None in the place of each."""

    def __init__(self, pickled: bytes, storages: dict[str, int]) -> None:
        super().__init__(io.BytesIO(pickled))
        self.storages, self.encode = storages, _Bytes(len(pickled))

    def find_class(self, module: str, name: str, /) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return _Ordered()
            case "torch._utils", "_rebuild_tensor_v2":
                return _Tensor()
            case "_codecs", "encode":
                return self.encode
            case "torch", _ if name in ITEM:
                return name
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any, /) -> Any:
        kind, item, key, _, numbers = pid
        if kind != "storage" or not all(isinstance(each, str) for each in (item, key)) or not isinstance(numbers, int):
            raise ValueError("a storage is not named as torch.save names it")
        if self.storages[key] != numbers * ITEM[item]:
            raise ValueError("a storage has not the size that it claims")
        return numbers


class _Tensor:
    """In the place of the function that torch makes a tensor with; without anything that a pickle could set."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any) -> None:
        counts = (storage, offset, *size, *stride)
        if requires_grad is not False or hooks or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("a tensor is not one of plain numbers")
        last = 0  # number, from the offset
        for step, n in sorted(zip(stride, size, strict=True)):
            if n > 1 and step <= last:
                raise ValueError("numbers of a tensor lie on one another")
            last += (n - 1) * step
        if math.prod(size) > storage or (math.prod(size) and offset + last >= storage):
            raise ValueError("a tensor is larger than its storage")


class _Ordered:
    """In the place of OrderedDict, which is made empty: a long list of items could else be named many times."""

    __slots__ = ()

    def __call__(self) -> "_OrderedDict":
        return _OrderedDict()


class _OrderedDict(OrderedDict[Any, Any]):
    def __setstate__(self, state: Any) -> None:
        """Take nothing of the attributes: a module's `state_dict` has one."""
        if not isinstance(state, dict) or not state.keys() <= {"_metadata"}:
            raise ValueError("a dict has attributes that torch gives to none")


class _Bytes:
    """In the place of the function that protocol 2 makes bytes with; one text named many times is more than a file."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def __call__(self, text: Any, encoding: Any) -> bytes:
        self.left -= len(text)
        if encoding != "latin1" or self.left < 0:
            raise ValueError("bytes are not written as torch.save writes them")
        return text.encode("latin1")
