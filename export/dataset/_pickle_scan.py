"""Bound what a pickle may build, from its opcodes alone, before anything of it is loaded.

A few bytes can ask for gigabytes: a forged index makes the reader's table of remembered objects as long as it says, a
forged length is allocated before it is read, and a tuple that holds itself twice, twenty times over, is hashed a
million times.
"""

from __future__ import annotations

import pickletools

MAX_OPCODES = 100_000
"""A patch of 124 named channels takes about a thousand."""

MAX_TUPLE = 2_000
"""Values in a tuple, those of the tuples within it included, each as often as it stands there."""

_TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_MARK = -1


class ExcessiveError(Exception):
    """The pickle would build more than a patch can hold."""


def scan_pickle(data: bytes) -> None:
    """See that a pickle is whole, and builds no more than a patch.

    Raises:
        ExcessiveError: It has too many opcodes, remembers at too high an index, or nests tuples too much.
        Exception: It is no pickle.
    """
    stack: list[int] = []
    memo: dict[int, int] = {}
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count >= MAX_OPCODES:
            raise ExcessiveError(f"more than {MAX_OPCODES:,} steps")
        if opcode.name in _PUTS:
            if not isinstance(argument, int) or not 0 <= argument < MAX_OPCODES:
                raise ExcessiveError("a place in memory beyond any that it needs")
            memo[argument] = stack[-1]
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif opcode.name in _GETS:
            stack.append(memo[int(argument or 0)])
        elif opcode.name == "MARK":
            stack.append(_MARK)
        elif opcode.name == "DUP":
            stack.append(stack[-1])
        else:
            _step(stack, opcode)


def _step(stack: list[int], opcode: pickletools.OpcodeInfo) -> None:
    """Take from the stack what the opcode takes, and put there how much a tuple of it holds; anything else counts 1."""
    before = opcode.stack_before
    taken: list[int] = []
    if pickletools.markobject in before:
        while (top := stack.pop()) != _MARK:
            taken.append(top)
        before = before[: before.index(pickletools.markobject)]
    taken.extend(stack.pop() for _ in before)
    held = 1 + sum(taken) if opcode.name in _TUPLES else 1
    if held > MAX_TUPLE:
        raise ExcessiveError(f"a tuple of more than {MAX_TUPLE:,} values")
    stack.extend(held for _ in opcode.stack_after)
