"""Verifies every signature of the messages named on the command line with dkimpy.

Keys come from the file given first: lines of `name<TAB>record`. Prints `ok NAME COUNT` for each
message, or `FAILED NAME INDEX`.
"""

import sys

import dkim


def main():
    keys = {}
    with open(sys.argv[1], encoding="ascii") as lines:
        for line in lines:
            name, record = line.rstrip("\n").split("\t", 1)
            keys[name + "."] = record.encode()

    def look_up(name, timeout=5):
        return keys[name.decode() if isinstance(name, bytes) else name]

    failed = False
    for path in sys.argv[2:]:
        with open(path, "rb") as message:
            message = message.read()
        count = message.split(b"\r\n\r\n")[0].count(b"DKIM-Signature:")
        for index in range(count):
            # dkimpy answers False or raises, each with a reason of its own.
            try:
                good = dkim.DKIM(message).verify(idx=index, dnsfunc=look_up)
            except dkim.DKIMException as error:
                print("reason", error)
                good = False
            if not good:
                failed = True
                print("FAILED", path, index)
        print("ok", path, count)
    sys.exit(failed)


main()
