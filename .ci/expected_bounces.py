"""Writes what flufl.bounce's own tests expect of each sample, one line a file."""

import ast
import pathlib
import sys


def main() -> None:
    tests = pathlib.Path(sys.argv[1])
    module = ast.parse((tests / "test_detectors.py").read_text())
    table = next(
        ast.literal_eval(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DETECTORS"
    )
    expected = {}
    for _, name, addresses, is_temporary in table:
        # Of several readers the one that knows the sample counts.
        if addresses or name not in expected:
            kind = ("delayed" if is_temporary else "failed") if addresses else "none"
            expected[name] = (kind, [address.decode() for address in addresses])
    lines = [" ".join([name, kind, *addresses]) for name, (kind, addresses) in expected.items()]
    (tests / "data" / "expected").write_text("\n".join(sorted(lines)) + "\n")


main()
