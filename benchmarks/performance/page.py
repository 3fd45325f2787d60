"""The tables of a run as Markdown: ``docs/performance.md`` and what is printed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.performance import figures
from benchmarks.performance.comparing import ratio
from benchmarks.performance.results import Row, Run
from benchmarks.performance.rounds import CLIENTS
from securesplit.text import markdown_table

_HEAD = """\
# Performance

<!-- Written by `make bench` (python -m benchmarks.performance --publish); do not edit. -->

Ours beside what one would pick instead: the same photos and weights, one run, one thread for every runtime but our
heads, which have two as they do by default, each peer in an environment of its own. `make bench` repeats it and
compares: what counts is the ratio to the reference peer of the same run, which is marked with an asterisk, since times
change with the machine. [ADR 107](adr/107-benchmark-of-peers.md) says how ratios are judged. Other tables: `make
tables`.

![Milliseconds and requests per core](performance.png)
"""
_TITLES = {
    "photo": "From a photo's file to its answer",
    "inception": "The same with InceptionResNetV2",
    "tail none": "The tail of `none`, served",
    "tail certified": "The tail of `certified`, served",
    "tail encrypted": "The tail of `encrypted`, served",
    "encrypted": "A tail evaluated on ciphertexts",
}
_ABOUT = {
    "photo": """\
One photo after the other, warm, over loopback; percentiles over all rounds. CPU is of device and worker together. The
unsplit networks run on the device alone, so nothing travels and the photo stays there: they are the measure of what
splitting costs. A `certified` release needs next to no tail, since the device computes nearly all of the network. Bytes
are what TCP carries of a warm request and of its answer; those of the first request count the handshake before it, and
for `encrypted` 27 MB of evaluation keys, which a worker keeps. Cold start is of the client's process, its worker being
up; the device is new, so for `encrypted` it draws its keys and uploads them. All begin with the photo's file. Ours also
checks whether the JPEG is whole, whether it shows a lesion, and writes its release down on the disk; the others read,
scale and compute.
""",
    "inception": """\
InceptionResNetV2 at 150 × 150 pixels with random weights, for its time alone: nobody trained it. Ours has its default
cut, in the middle, and the preset `none`.
""",
    "tail none": """\
The longest tail (4,800 int16 a request), the same LiteRT file behind each server, one process or replica that computes.
Requests a second and core are requests over processor time of the server with all its processes, clients not counted;
latencies are of 8 clients that share the machine with the server. Cold start is from the server's start to its first
answer.
""",
    "tail certified": """\
The shortest tail (one number a request), which takes 0.04 ms: all else is what the server and its encryption cost.
""",
    "tail encrypted": """\
Ours alone: none of the servers above has such a tail. Photos a second and core, milliseconds of clients' processors and
bytes are of a photo, latencies are of a request; a client's part is to encrypt and to decrypt.
""",
    "encrypted": """\
256 numbers encrypted, a quadratic tail (256, 64, 64, 1) evaluated on them, the answer decrypted, in one process without
a network; CKKS with the same parameters of 128 bits for ours and for TenSEAL's vectors, which rotate once for each
number that goes into a matrix, by keys for powers of two. Concrete ML quantizes to four bits, and its answers correlate
with the network's by 0.60; six bits give 0.99 and take far longer. It is asked in one round only.
""",
}
_BATCHES = """\
Ours computes together what waits, up to 6 ms, as deployed. The others have two rows, as they are by default, request by
request, and with their own batches of up to eight requests; none waits for a batch to fill but LitServe, for 1 ms,
since its worker spins otherwise. Handshakes are not counted.
"""
_GOALS = """\
Ours against the peers of the same run: "against" is ours over theirs. The best of the servers is taken for each figure,
with or without batches; `asyncio and ssl` is not among them, since nobody would deploy it.
"""
_LOADED = """\
The harness itself adds about one. Where it was more than {cores}, other programs had part of the cores: milliseconds \
are then longer than on a quiet machine, processor time less so.\
"""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: of the column.
        figure: of the row.
        form: how a number is written.
    """

    title: str
    figure: str
    form: str = ".3g"

    def text(self, value: float) -> str:
        """A number of it, without exponents."""
        return format(value, ",.0f" if value >= 1_000 else self.form)


_MS = tuple(Column(f"{name}, ms", f"{name}_ms") for name in ("p50", "p95", "p99"))
_BYTES = Column("bytes, request", "request_bytes", ",.0f"), Column("answer", "answer_bytes", ",.0f")
_FIRST = Column("first request", "first_bytes", ",.0f")
_STANDING = Column("install, MB", "install_mb", ",.0f"), Column("cold start, s", "cold_start_s", ".1f")
_DEVICE = Column("device CPU, ms", "client_cpu_ms"), Column("device MB", "client_memory_mb", ".0f")
_WORKER = Column("worker MB", "worker_memory_mb", ",.0f")
_ASKED = (*_MS, Column("CPU, ms", "cpu_ms"), *_DEVICE, _WORKER, *_BYTES, _FIRST, *_STANDING)
_SERVED = (
    *_MS,
    *(Column(f"requests/s a core, {n}", f"per_core_{n}", ",.0f") for n in CLIENTS),
    Column("client CPU, ms", "client_cpu_ms"),
    Column("client MB", "client_memory_mb", ".0f"),
    _WORKER,
    *_BYTES,
    *_STANDING,
)


def document(run: Run) -> str:
    """The whole page."""
    parts = [_HEAD, _measured(run), *_accepted(run), _figures(run)]
    for task in _tasks(run):
        parts += [f"## {_TITLES[task]}\n", _ABOUT[task], *_more(run, task), _table(run, task)]
    return "\n".join(parts)


def _accepted(run: Run) -> list[str]:
    """What got worse since the run before."""
    if not run.accepted:
        return []
    lines = [_wrapped(f"- {line}", indent="  ") for line in run.accepted]
    return [_wrapped(f"Worse than in the run before: {run.because}") + "\n", "\n".join([*lines, ""])]


def _more(run: Run, task: str) -> list[str]:
    """What is said where other servers are told to make batches."""
    has_batches = any(row.task == task and row.name.endswith(", batches") for row in run.rows)
    return [_BATCHES] if has_batches and task == "tail none" else []


def tables(run: Run) -> str:
    """The tables alone."""
    parts = [f"{_TITLES[task]}\n{_table(run, task)}" for task in _tasks(run)]
    return "\n".join([*parts, _figures(run)])


def _tasks(run: Run) -> list[str]:
    return [task for task in _TITLES if any(row.task == task for row in run.rows)]


def _measured(run: Run) -> str:
    machine, cores = run.machine, run.machine["cores"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    when, loads = run.when[:16].replace("T", " "), ", ".join(f"{load:.1f}" for load in run.load)
    where = f"{machine['processor']}, {cores} cores, {machine['memory_gb']} GB, {machine['system']}"
    took = f"The rounds took {run.took_s / 60:.0f} minutes. " if run.took_s else ""
    paragraphs = [
        f"Measured {when} UTC on {where}, Python {machine['python']}; {versions}.",
        f"{took}Load average before each round: {loads}. {_LOADED.format(cores=cores)}",
    ]
    return "\n\n".join(_wrapped(paragraph) for paragraph in paragraphs) + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _figures(run: Run) -> str:
    rows = [[one.what, one.wanted, one.had, "yes" if one.is_reached else "**no**"] for one in figures.figures(run)]
    table = markdown_table(["what", "wanted", "had", "reached"], rows)
    return f"## Figures wanted, figures had\n\n{_GOALS}\n{table}\n" if rows else ""


def _table(run: Run, task: str) -> str:
    columns = _SERVED if task.startswith("tail") else _ASKED
    rows = [row for row in run.rows if row.task == task]
    columns = tuple(c for c in columns if any(row.figure(c.figure) is not None for row in rows))
    titles = ["", "protection", *(column.title for column in columns), "times reference, p50"]
    if task == "tail encrypted":
        titles = [title.replace("requests/s", "photos/s") for title in titles]
    table = markdown_table(titles, (list(_cells(run, row, columns)) for row in rows if row.rounds))
    missing = [f"- {row.name}: {row.missing}" for row in rows if row.missing]
    missing = [_wrapped(line, indent="  ") for line in missing]
    return "\n".join([table, *(["", "Not measured:", "", *missing] if missing else []), ""])


def _cells(run: Run, row: Row, columns: Sequence[Column]) -> Iterator[str]:
    reference = run.reference(row.task)
    mark = " *" if reference is row else ""
    yield f"**{row.name}**" if row.is_ours else row.name + mark
    yield row.protection
    for column in columns:
        value = row.figure(column.figure)
        yield "" if value is None else column.text(value)
    found = ratio(row, reference, "p50_ms") if reference else None
    yield f"{found.times:.2f}" if found else ""
