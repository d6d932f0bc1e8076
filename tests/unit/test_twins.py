"""Sync and async twins are the same but for `await`.

The async one's source is turned into sync code, node by node, and compared with its twin's, line
by line. What may differ stands in `DIFFERENCES`, with its reason.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap

import pytest

from circuitry import CircuitBreaker, Permit, circuit
from circuitry.breaker import Breaker
from circuitry.fallback import Fallback
from circuitry.gate import LocalGate
from circuitry.guards import guard_async_generator, guard_coroutine, guard_function, guard_generator

pytestmark = pytest.mark.core

Decoration = type(circuit("netflix"))

TWINS = [
    (guard_function, guard_coroutine),
    (guard_generator, guard_async_generator),
    (Breaker.admit, Breaker.admit_async),
    (CircuitBreaker.acquire, CircuitBreaker.acquire_async),
    (CircuitBreaker.__enter__, CircuitBreaker.__aenter__),
    (CircuitBreaker.__dict__["__exit__"], CircuitBreaker.__dict__["__aexit__"]),
    (Decoration.__enter__, Decoration.__aenter__),
    (Decoration.__dict__["__exit__"], Decoration.__dict__["__aexit__"]),
    (Fallback.serve, Fallback.serve_async),
    (LocalGate.ask, LocalGate.ask_async),
]

#: By the sync twin's name: lines of the sync one alone ("-") and of the async one alone ("+").
DIFFERENCES = {
    # A plain function may return what goes on after it; a coroutine function's result is had, and it
    # may have a deadline.
    "guard_function": {
        "+usual = fn if own is None or isinstance(own, Missing) else bounded(fn, own)",
        "+call = usual",
        "-outcome = breaker.ended(admission, error, judge)",
        "+judged_by = judge if call is fn else judge_for(error, judge)",
        "+outcome = breaker.ended(admission, error, judged_by)",
        "+call = in_time(fn, usual, own, breaker.config)",
        "-result = fn(*args, **kwargs) if kwargs else fn(*args)",
        "+result = call(*args, **kwargs) if kwargs else call(*args)",
        "-single, judge, result_failed, fallback, choose, remember, _ = terms",
        "+single, judge, result_failed, fallback, choose, remember, own = terms",
        "-plain: type = NoneType",
        "-nonlocal plain",
        "-if result.__class__ is not plain:",
        "-if goes_on(result):",
        "-permit = Permit(breaker, admission)",
        "-return _hand_over(result, permit, terms, (args, kwargs))",
        "-plain = result.__class__",
    },
    # An async generator returns no value, there is no `yield from` for one, and nothing else
    # closes what it iterates over.
    "guard_generator": {
        "-return None",
        "+return",
        "-except StopIteration as end:",
        "+except StopIteration:",
        "-return end.value",
        "-value = stream.close()",
        "-if value is None:",
        "-breaker.left_early(admission)",
        "-return value",
        "+stream.close()",
        "-yield from fallback.serve(rejection, args, kwargs)",
        "+with closing(each_of(fallback.serve(rejection, args, kwargs))) as items:",
        "-yield from fallback.serve(error, args, kwargs)",
        "+with closing(each_of(fallback.serve(error, args, kwargs))) as items:",
        "+for item in items:",
        "+yield item",
    },
    # For an async call the fallback may be sync or async.
    "Fallback.serve": {
        "-return self._ask(error, args, kwargs)",
        "+result = self._ask(error, args, kwargs)",
        "+return result if inspect.isawaitable(result) else result",
    },
}

NAMES = {
    "anext": "next",
    "aclosing": "closing",
    "aclose": "close",
    "asend": "send",
    "athrow": "throw",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "StopAsyncIteration": "StopIteration",
    "guard_coroutine": "guard_function",
    "guard_async_generator": "guard_generator",
}


class Synchronised(ast.NodeTransformer):
    """Turns async code into sync code, and takes away what isn't code: docstrings and annotations."""

    def visit_Await(self, node):
        return self.visit(node.value)

    def visit_AsyncFunctionDef(self, node):
        return self.visit_FunctionDef(ast.FunctionDef(**vars(node)))

    def visit_FunctionDef(self, node):
        node.name, node.returns = self.renamed(node.name), None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_AsyncWith(self, node):
        return self.generic_visit(ast.With(**vars(node)))

    def visit_AsyncFor(self, node):
        return self.generic_visit(ast.For(**vars(node)))

    def visit_Name(self, node):
        node.id = self.renamed(node.id)
        return node

    def visit_Attribute(self, node):
        node.attr = self.renamed(node.attr)
        return self.generic_visit(node)

    def renamed(self, name):
        return NAMES.get(name, name.removesuffix("_async"))


def lines(function):
    """The code of a function as lines without indentation, as if it were sync."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    text = ast.unparse(ast.fix_missing_locations(Synchronised().visit(tree)))
    return [line.strip() for line in text.splitlines()]


def differences(sync, asynchronous):
    compared = difflib.ndiff(lines(sync), lines(asynchronous))
    return {line[0] + line[2:] for line in compared if line[0] in "-+"}


@pytest.mark.parametrize(("sync", "asynchronous"), TWINS, ids=lambda twin: twin.__qualname__)
def test_twins_differ_only_where_they_have_to(sync, asynchronous):
    assert differences(sync, asynchronous) == DIFFERENCES.get(sync.__qualname__, set())


def test_every_method_with_an_async_name_has_a_twin_here():
    listed = {asynchronous.__qualname__ for _, asynchronous in TWINS}
    for kind in (Breaker, CircuitBreaker, Decoration, Fallback, LocalGate, Permit):
        for name, method in vars(kind).items():
            if inspect.iscoroutinefunction(method):
                assert f"{kind.__qualname__}.{name}" in listed


def test_a_difference_is_found():
    def sync(number):
        return number + 1

    async def asynchronous(number):
        return await number + 2

    assert differences(sync, asynchronous) == {
        "-def sync(number):",
        "+def asynchronous(number):",
        "-return number + 1",
        "+return number + 2",
    }
