"""Shell and applications: programs of the guest's Debian on files that are made here.

Natively the host's own programs do the same; what they write to `out` must be the same. Called by
`sampling.py`. Files and commands are the same in every run: they come from a fixed generator.
"""

import gzip
import lzma
from collections.abc import Mapping

from bench.catalogue import Application, Workload

TEXT_SIZE, LINES = 4 << 20, 64397
MEGABYTES = TEXT_SIZE / (1 << 20)
LCG = (6364136223846793005, 1442695040888963407, (1 << 64) - 1)
SYLLABLES = (
    *("ka", "lo", "mi", "ter", "an", "vos", "del", "qui", "sha", "ro"),
    *("pen", "zu", "ist", "ga", "nor", "bel", "ti", "ux", "fra", "men"),
)

PROGRAM_PYTHON = """\
def primes(limit):
    found = []
    for n in range(2, limit):
        for p in found:
            if p * p > n:
                found.append(n)
                break
            if n % p == 0:
                break
        else:
            found.append(n)
    return found
class Account:
    def __init__(self, owner): self.owner, self.balance = owner, 0
    def pay(self, amount): self.balance = (self.balance * 3 + amount) % 1000003
accounts = {str(n): Account(n) for n in range(200)}
for n in range(20000):
    accounts[str(n * 7 % 200)].pay(n)
words = " ".join(str(n * n % 997) for n in range(20000)).split()
count = {}
for word in words:
    count[word] = count.get(word, 0) + 1
text = sorted(count.items(), key=lambda item: (-item[1], item[0]))[:20]
table = [[i * j % 17 for j in range(60)] for i in range(60)]
total = sum(sum(row) * x for x, row in enumerate(table))
print(len(primes(6000)), sum(a.balance for a in accounts.values()), text, total, 3 ** 500 % 10 ** 9)
"""

PROGRAM_AWK = """\
BEGIN {
    seed = 7
    for (i = 0; i < N; i++) {
        seed = (seed * 1103 + 12345) % 65521
        word = "w" (seed % 500)
        count[word] += length(word) + i % 3
        if (word ~ /^w[0-4]+$/) text = substr(text word, 1, 40)
    }
    for (i = 0; i < 500; i++) sum = (sum * 31 + count["w" i]) % 1000003
    print sum, text
}
"""

PROGRAM_SHELL = """\
i=0
sum=1
while [ $i -lt $1 ]; do
    i=$((i + 1))
    case $((sum % 4)) in
        0) sum=$((sum / 2 + i)) ;;
        1) sum=$(((sum * 7 + 3) % 65521)) ;;
        *) word=w$sum; sum=$((${#word} * 100 + i)) ;;
    esac
done
echo $sum
"""


APPLICATIONS = {
    "shloop": Application("sh ./loop.sh {n}000 > out", 1000),
    "shexec": Application("/usr/bin/true > out", 1),
    "awk": Application("mawk -v N={n}000 -f ./count.awk > out", 1000),
    "gzip": Application("gzip -6 -n -c < text > out", MEGABYTES),
    "gunzip": Application("gzip -d -c < text.gz > out", MEGABYTES),
    "unxz": Application("xz -d -c < text.xz > out", MEGABYTES),
    "sha256sum": Application("sha256sum < text > out", MEGABYTES),
    "md5sum": Application("md5sum < text > out", MEGABYTES),
    "sort": Application("sort < text > out", LINES),
    "grep": Application(
        "grep -E '(ka|lo)[a-z]*(ter|an) .*(men|fra) [0-9]+$' < text > out", MEGABYTES
    ),
    "pystart": Application("/usr/bin/python3 -I -c 'print(6 * 7)' > out", 1),
    "pybench": Application("/usr/bin/python3 -I bench.py > out", 1),
}

WORKLOADS = tuple(
    Workload(name, "apps", unit, scale, APPLICATIONS[name])
    for name, unit, scale in (
        *(("shloop", "iteration", 30), ("shexec", "exec", 60), ("awk", "iteration", 100)),
        *(("gzip", "MB", 2), ("gunzip", "MB", 6), ("unxz", "MB", 5), ("sha256sum", "MB", 4)),
        *(("md5sum", "MB", 12), ("sort", "line", 1), ("grep", "MB", 2), ("pystart", "start", 4)),
        ("pybench", "run", 2),
    )
)


def text() -> bytes:
    """Lines of made-up words, in which some words are more frequent than others."""
    state, lines, size = 1, [], 0
    words = _words()
    while size < TEXT_SIZE:
        line = []
        for _ in range(8):
            state = (state * LCG[0] + LCG[1]) & LCG[2]
            line.append(words[(state >> 33) % (1 << (state >> 60) % 9 + 4)])
        state = (state * LCG[0] + LCG[1]) & LCG[2]
        lines.append(" ".join(line) + f" {state >> 48}\n")
        size += len(lines[-1])
    return "".join(lines).encode()[:TEXT_SIZE]


def _words() -> list[str]:
    state, found = 99, []
    for _ in range(1 << 12):
        word = ""
        state = (state * LCG[0] + LCG[1]) & LCG[2]
        for place in range(1 + (state >> 62)):
            word += SYLLABLES[(state >> 8 * place + 16) % len(SYLLABLES)]
        found.append(word)
    return found


def files() -> Mapping[str, bytes]:
    """What lies beside the program, natively and in the guest."""
    lines = text()
    return {
        "text": lines,
        "text.gz": gzip.compress(lines, 6, mtime=0),
        "text.xz": lzma.compress(lines, preset=2),
        "loop.sh": PROGRAM_SHELL.encode(),
        "count.awk": PROGRAM_AWK.encode(),
        "bench.py": PROGRAM_PYTHON.encode(),
    }
