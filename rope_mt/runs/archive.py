"""The file of a checkpoint, looked through before torch reads it.

`torch.load` compares no CRC32, and believes what a file says of its tensors: one that claims more numbers than its
member holds would be read from beyond it. So the file is held to what `torch.save` writes: a zip of stored members, a
pickle of plain values and dense tensors, and behind it, as the comment of the zip, a digest over names, sizes and CRC32
of all members.
"""

import hashlib
import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from typing import IO, Any

BLOCK = 1 << 22
END = struct.Struct("<4s4H2LH")  # a zip's last record, before its comment
HEX = 64  # digits of the digest
SIZES = {1: "Bool Byte Char", 2: "Short Half BFloat16", 4: "Int Float", 8: "Long Double"}
ITEM = {f"{kind}Storage": size for size, kinds in SIZES.items() for kind in kinds.split()}  # bytes of a number
OPCODES = {  # those of pickle's protocol 2 for plain values
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET"),
    *("LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1"),
    *("TUPLE2", "TUPLE3"),
}


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
        if len(sizes) != len(members) or any(not name.startswith(f"{top}/") for name in sizes):
            raise ValueError("its members have not the names that torch gives")
        pickled = archive.read(f"{top}/data.pkl")
    prefix = f"{top}/data/"
    _refuse_claims(pickled, {n.removeprefix(prefix): size for n, size in sizes.items() if n.startswith(prefix)})


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
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name not in OPCODES or (opcode.name == "LONG_BINPUT" and int(argument or 0) > len(pickled)):
            raise pickle.UnpicklingError(f"it has the opcode {opcode.name}")
    _Claims(pickled, storages).load()


class _Claims(pickle.Unpickler):
    """Reads what a pickle claims of tensors, with None in the place of each."""

    def __init__(self, pickled: bytes, storages: dict[str, int]) -> None:
        super().__init__(io.BytesIO(pickled))
        self.storages = storages

    def find_class(self, module: str, name: str, /) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return _Tensor()
            case "_codecs", "encode":
                return _Bytes()
            case "torch", _ if name in ITEM:
                return name
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any, /) -> Any:
        kind, item, key, _, numbers = pid
        if kind != "storage" or not isinstance(numbers, int) or self.storages[key] != numbers * ITEM[item]:
            raise ValueError("a storage has not the size that it claims")
        return numbers


class _Tensor:
    """In the place of the function that torch makes a tensor with; without anything that a pickle could set."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any) -> None:
        counts = (storage, offset, *size, *stride)
        if requires_grad is not False or hooks or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("a tensor is not one of plain numbers")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if math.prod(size) > storage or (math.prod(size) and last >= storage):
            raise ValueError("a tensor is larger than its storage")


class _Bytes:
    """In the place of the function that protocol 2 makes bytes with."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if encoding != "latin1":
            raise ValueError("bytes are not written as torch.save writes them")
        return text.encode("latin1")
