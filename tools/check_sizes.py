#!/usr/bin/env python3
"""File and function sizes (docs/style.md): a file has at most 500 lines (warning at 400), a function
at most 80 lines (150 in kernels/), 6 parameters and control flow nested 4 deep. Excuses stand below."""

import re
import sys

import source_tree

FILE_WARN, FILE_FAIL = 400, 500
FUNCTION_LINES, KERNEL_LINES, PARAMETERS, NESTING = 80, 150, 6, 4

# ("path" or "path:function", reason)
EXCUSES = {
    "src/ops/attention_bf16.cpp:softmax_row": "inner loop over one row; its arguments are that row",
    "src/ops/attention_bf16.cpp:run_tile": "inner loop over one tile; its arguments are that tile",
    "src/ops/row_loops.cpp:normalise_affine": "inner loop over one row; its arguments are that row",
}

CONTROL = re.compile(r"\b(if|for|while|switch|catch)\s*(constexpr\s*)?\(|\b(else|do|try)\s*$")
NOT_A_FUNCTION = {"if", "for", "while", "switch", "catch", "return", "sizeof", "decltype", "alignof",
                  "requires", "TEST_CASE", "SECTION", "TEMPLATE_TEST_CASE"}
TYPE_HEAD = re.compile(r"^\s*(template\s*<.*>\s*)?(class|struct|union|enum|namespace|extern)\b", re.DOTALL)
TAIL = re.compile(r"^(\s|const|noexcept|override|final|mutable|&&?|->\s*[\w:<>,&*\s]+|try|requires\b.*)*$", re.DOTALL)


def matching_open(text, close):
    depth = 0
    for index in range(close, -1, -1):
        depth += {")": 1, "(": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return -1


def count_parameters(inside):
    inside = re.sub(r"->|<<|>>=|[<>]=", " ", inside)
    depth, count = 0, 1
    for letter in inside:
        depth += letter in "(<[{"
        depth -= letter in ")>]}"
        count += letter == "," and depth == 0
    return count if inside.strip() else 0


def function_of(head):
    """(name, number of parameters) when the text before a '{' declares a function, else None."""
    if TYPE_HEAD.match(head) and "(" not in head:
        return None
    # The parameter list is the first group in parentheses that follows a plain name.
    for found in re.finditer(r"(~?[A-Za-z_][\w]*|operator\s*[^\s\w(]+|operator\s*\(\s*\))\s*\(", head):
        name = found.group(1)
        if name in NOT_A_FUNCTION or name in ("noexcept", "__launch_bounds__", "__attribute__", "alignas"):
            continue
        depth, index = 0, found.end() - 1
        while index < len(head):
            depth += {"(": 1, ")": -1}.get(head[index], 0)
            if depth == 0:
                break
            index += 1
        if depth != 0:
            return None
        rest = head[index + 1:]
        initialisers = re.match(r"^[\s\w]*:[^:]", rest)
        if initialisers and re.search(r"\w\s*$", rest):
            return None  # the '{' of one member's initialiser
        if TAIL.match(rest) or initialisers:
            return name.replace(" ", ""), count_parameters(head[found.end():index])
        return None
    return None


def is_test(head):
    return re.search(r"\b(TEMPLATE_)?(TEST_CASE|TEST_CASE_METHOD)\w*\s*\(", head) is not None


def functions(text):
    """Yields (name, first line, lines, parameters, nesting) of every function with a body."""
    code = source_tree.without_preprocessor(source_tree.without_comments_and_strings(text))
    stack = []  # entries: [kind, name, line, parameters, deepest]
    head_start = 0
    parens = 0
    for index, letter in enumerate(code):
        if letter in "()":
            parens += 1 if letter == "(" else -1
        elif letter == ";" and parens == 0:
            head_start = index + 1
        elif letter == "{":
            head = code[head_start:index]
            stack.append(entry_for(head, stack, code, index) + [parens, head_start])
            parens = 0
            head_start = index + 1
        elif letter == "}" and stack:
            kind, name, line, parameters, deepest, parens, before = stack.pop()
            if kind == "function":
                last = code.count("\n", 0, index) + 1
                yield name, line, last - line + 1, parameters, deepest
            head_start = before if kind == "value" else index + 1


def entry_for(head, stack, code, index):
    line = code.count("\n", 0, index - len(head.lstrip())) + 1
    owner = next((entry for entry in reversed(stack) if entry[0] == "function"), None)
    if owner is None:
        found = ("test", 0) if is_test(head) else function_of(head)
        if found and not TYPE_HEAD.match(head.split("(")[0] if "(" in head else head):
            return ["function", found[0], line, found[1], 0]
        return ["scope" if TYPE_HEAD.match(head) else "value", "", line, 0, 0]
    if CONTROL.search(head):
        depth = 1 + sum(entry[0] == "control" for entry in stack[stack.index(owner):])
        owner[4] = max(owner[4], depth)
        return ["control", "", line, 0, 0]
    return ["value" if re.search(r"[\w>,=(\]]\s*$", head) and not head.rstrip().endswith(")") else "block",
            "", line, 0, 0]


def check_file(path):
    text = source_tree.read(path)
    lines = text.count("\n")
    if lines > FILE_FAIL and path not in EXCUSES:
        yield f"{path}: {lines} lines, at most {FILE_FAIL}"
    elif lines > FILE_WARN:
        print(f"note: {path}: {lines} lines; a file of more than {FILE_WARN} is worth splitting")
    if not path.endswith(source_tree.CODE):
        return
    most = KERNEL_LINES if path.startswith("kernels/") or path.endswith((".cu", ".cuh")) else FUNCTION_LINES
    if path.startswith("tests/"):
        most = KERNEL_LINES
    for name, line, length, parameters, nesting in functions(text):
        if f"{path}:{name}" in EXCUSES:
            continue
        if length > most:
            yield f"{path}:{line}: {name}() has {length} lines, at most {most}"
        if parameters > PARAMETERS:
            yield f"{path}:{line}: {name}() has {parameters} parameters, at most {PARAMETERS}"
        if nesting > NESTING:
            yield f"{path}:{line}: {name}() nests {nesting} deep, at most {NESTING}"


def self_test():
    sample = """
    namespace a { struct S { int f(int x, std::map<int, int> y) const { if (x) { for (;;) { g(); } } return 0; } };
    S::S(int a, int b) : a_{a}, b_(b) { }
    const char* names[] = {"a", "b"};
    int h() {
      auto l = [&](int i) { return i; };
      return l(1);
    }
    }"""
    found = [(n, length, p, d) for n, _, length, p, d in functions(sample)]
    assert found == [("f", 1, 2, 2), ("S", 1, 2, 0), ("h", 4, 0, 0)], found


def main():
    self_test()
    paths = source_tree.files() + source_tree.files((".py",))
    problems = [problem for path in paths for problem in check_file(path)]
    for excuse in EXCUSES:
        if excuse.split(":")[0] not in paths:
            problems.append(f"check_sizes.py: the excuse for {excuse} is out of date")
    return source_tree.report("sizes", problems, len(paths))


if __name__ == "__main__":
    sys.exit(main())
