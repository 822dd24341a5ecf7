# Compiles Python sources from standard input to standard output, run by the locked interpreter.
# In: big-endian u32 length and bytes of the path, then of the source, until the end.
# Out: for each one byte (0 done, 1 not Python), then u32 length and bytes of the .pyc or the reason.
import sys
import _imp
import _frozen_importlib_external as external

read, write = sys.stdin.buffer.read, sys.stdout.buffer.write


def chunk():
    head = read(4)
    if len(head) < 4:
        return None
    return read(int.from_bytes(head, "big"))


while (path := chunk()) is not None:
    source = chunk()
    try:
        code = compile(source, path.decode(), "exec", dont_inherit=True, optimize=0)
        key = int.from_bytes(external.MAGIC_NUMBER, "little")
        status, data = 0, external._code_to_hash_pyc(code, _imp.source_hash(key, source), False)
    except (SyntaxError, ValueError, RecursionError) as error:
        status, data = 1, str(error).encode("utf-8", "backslashreplace")
    write(bytes([status]) + len(data).to_bytes(4, "big") + data)
