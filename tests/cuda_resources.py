"""What each CUDA kernel takes of a processor, as ptxas says: registers, static shared memory, stack, spills.

    python tests/cuda_resources.py [family ...]     # writes csrc/cuda/RESOURCES.md, or the parts of these families
    python tests/cuda_resources.py --check          # fails where it would write something else, and where a kernel spills

Needs nvcc and no GPU. Numbers of another release of nvcc than the one that wrote the file are not compared.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CUDA = ROOT / "csrc" / "cuda"
PAGE = CUDA / "RESOURCES.md"
ARCHITECTURES = (75, 80, 90)
# Kernels that may spill, and why that costs nothing.
MAY_SPILL: dict[str, str] = {}

HEAD = """# What the kernels take of a processor

Per thread: registers, bytes of stack, bytes spilled; per block: bytes of static shared memory. Three numbers are those of
{architectures}, where they differ. Written by `python tests/cuda_resources.py` with nvcc {version}; a test compares, and a
kernel that spills fails it.
"""


def release():
    """The release of nvcc, as "13.0"; None without one."""
    if shutil.which("nvcc") is None:
        return None
    text = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release (\d+\.\d+)", text)[1]


def families():
    return sorted(p.stem for p in CUDA.glob("*.cu"))


def short(name):
    """A demangled kernel without its namespaces, its result and its arguments."""
    name = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N_\w*::|pyasr::(?:cuda::)?|^void ", "", name)
    depth = 0
    for k, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            return name[:k]
    return name


def entries(text):
    """What ptxas says of each kernel and of what it calls: (name, architecture, text)."""
    parts = re.split(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", text)
    plain = subprocess.run(["c++filt", *parts[1::3]], capture_output=True, text=True, check=True).stdout.splitlines()
    return zip(map(short, plain), map(int, parts[2::3]), parts[3::3], strict=True)


def numbers(text):
    """(registers, static shared memory, stack, spilled); the last two with what the kernel calls."""
    registers, shared = re.search(r"Used (\d+) registers", text), re.search(r"(\d+) bytes smem", text)
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", text)
    stack, spilled = max(int(f[0]) for f in frames), sum(int(f[1]) + int(f[2]) for f in frames)
    return int(registers[1]), int(shared[1]) if shared else 0, stack, spilled


def measure(family):
    """kernel -> architecture -> (registers, static shared memory, stack, spilled)."""
    codes = [f for a in ARCHITECTURES for f in ("-gencode", f"arch=compute_{a},code=sm_{a}")]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "nvcc",
            "-std=c++20",
            f"-I{ROOT / 'csrc'}",
            f"-I{ROOT / 'csrc' / 'include'}",
            *codes,
            "-Xptxas",
            "-v",
            "-c",
        ]
        done = subprocess.run(
            [*command, str(CUDA / f"{family}.cu"), "-o", f"{folder}/{family}.o"], capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, dict[int, tuple[int, ...]]] = {}
    for name, architecture, rest in entries(done.stdout + done.stderr):
        found.setdefault(name, {})[architecture] = numbers(rest)
    return found


def section(family, kernels):
    lines = [f"## {family}", "", "| kernel | registers | shared | stack | spilled |", "| --- | --- | --- | --- | --- |"]
    for name, by_architecture in sorted(kernels.items()):
        cells = []
        for k in range(4):
            values = [str(by_architecture[a][k]) for a in ARCHITECTURES]
            cells.append(values[0] if len(set(values)) == 1 else " ".join(values))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def written():
    """The release of nvcc that wrote the page, and its sections by family."""
    if not PAGE.exists():
        return None, {}
    head, *parts = re.split(r"^(?=## )", PAGE.read_text(), flags=re.MULTILINE)
    version = re.search(r"with nvcc (\d+\.\d+);", head)[1]
    return version, {p.split("\n", 1)[0].removeprefix("## "): p.rstrip() + "\n" for p in parts}


def spills(kernels):
    """The kernels that spill and may not."""
    return [n for n, by in kernels.items() if n not in MAY_SPILL and any(numbers[3] for numbers in by.values())]


def check(family):
    """What is wrong with the page's section of a family; an empty list when nothing is."""
    kernels = measure(family)
    problems = [f"{name} spills" for name in spills(kernels)]
    version, sections = written()
    if version == release() and sections.get(family) != section(family, kernels):
        problems.append(f"csrc/cuda/RESOURCES.md does not say what ptxas says of {family}:\n{section(family, kernels)}")
    return problems


def main(arguments):
    if release() is None:
        sys.exit("cuda_resources: there is no nvcc")
    if arguments == ["--check"]:
        with ThreadPoolExecutor(2) as pool:
            problems = [p for found in pool.map(check, families()) for p in found]
        if set(written()[1]) != set(families()):
            problems.append(f"csrc/cuda/RESOURCES.md has {sorted(written()[1])}, the kernels are of {families()}")
        if written()[0] != release():
            print(f"written with nvcc {written()[0]}, this is {release()}: only spills are looked for")
        sys.exit("\n".join(problems) or None)
    chosen = arguments or families()
    if unknown := set(chosen) - set(families()):
        sys.exit(f"cuda_resources: no family {', '.join(sorted(unknown))}; there are {', '.join(families())}")
    with ThreadPoolExecutor(2) as pool:
        new = dict(zip(chosen, pool.map(measure, chosen), strict=True))
    sections = {f: part for f, part in written()[1].items() if f in families()}
    sections |= {f: section(f, kernels) for f, kernels in new.items()}
    head = HEAD.format(architectures=", ".join(f"sm_{a}" for a in ARCHITECTURES), version=release())
    PAGE.write_text("\n".join([head, *(sections[f] for f in sorted(sections))]))
    for kernels in new.values():
        for name in spills(kernels):
            print(f"{name} spills")


if __name__ == "__main__":
    main(sys.argv[1:])
