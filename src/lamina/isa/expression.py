"""Integer expressions of the assembler: literals, characters, symbols, + - * << >> & | ( ) ~.

Evaluated without `eval`: precedence climbing over a list of tokens.
"""

import re
from collections.abc import Callable

_TOKEN = re.compile(
    r"\s*(?:(0x[0-9a-fA-F_]+|0b[01_]+|\d[\d_]*)|('(?:\\.|[^'\\])')|([A-Za-z_.$][\w.$]*)"
    r"|(<<|>>|[-+*&|^~()]))"
)
_ESCAPES = {"n": 10, "t": 9, "r": 13, "0": 0}
_BINDING = {"|": 1, "^": 2, "&": 3, "<<": 4, ">>": 4, "+": 5, "-": 5, "*": 6}
MAX_SHIFT, MAX_BITS, MAX_DEPTH = 64, 128, 50


def evaluate(text: str, symbol: Callable[[str], int]) -> int:
    """The value of an expression; ValueError if it is none. `symbol` finds a name's value."""
    parser = _Parser(_tokens(text), symbol)
    value = parser.expression(0)
    if parser.at < len(parser.tokens):
        raise ValueError(f"cannot read {text!r}")
    return value


def _tokens(text: str) -> list[str]:
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"cannot read {text!r}")
        tokens.append(match[0].strip())
        at = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[str], symbol: Callable[[str], int]) -> None:
        self.tokens = tokens
        self.symbol = symbol
        self.at = 0
        self._depth = 0

    def _next(self) -> str:
        if self.at >= len(self.tokens):
            raise ValueError("an operand is missing")
        self.at += 1
        return self.tokens[self.at - 1]

    def expression(self, binding: int) -> int:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("an expression is nested too deeply")
        left = self._primary()
        while self.at < len(self.tokens) and _BINDING.get(self.tokens[self.at], 0) > binding:
            operator = self._next()
            left = _apply(operator, left, self.expression(_BINDING[operator]))
        self._depth -= 1
        return left

    def _primary(self) -> int:
        token = self._next()
        if token == "(":
            value = self.expression(0)
            if self.at >= len(self.tokens) or self._next() != ")":
                raise ValueError("a parenthesis is not closed")
            return value
        if token in ("-", "+", "~"):
            value = self.expression(max(_BINDING.values()))
            return {"-": -value, "+": value, "~": ~value}[token]
        if token[0] == "'":
            body = token[1:-1]
            return ord(body) if len(body) == 1 else _ESCAPES.get(body[1], ord(body[1]))
        if token[0].isdigit():
            return int(token, 0)
        if token[0].isalpha() or token[0] in "_.$":
            return self.symbol(token)
        raise ValueError(f"{token!r} where a value is due")


def _apply(operator: str, a: int, b: int) -> int:
    if operator in ("<<", ">>") and not 0 <= b < MAX_SHIFT:
        raise ValueError(f"a shift by {b}")
    match operator:
        case "+":
            value = a + b
        case "-":
            value = a - b
        case "*":
            value = a * b
        case "<<":
            value = a << b
        case ">>":
            value = a >> b
        case "&":
            value = a & b
        case "|":
            value = a | b
        case _:
            value = a ^ b
    if value.bit_length() > MAX_BITS:
        raise ValueError("a value of more than 128 bits")
    return value
