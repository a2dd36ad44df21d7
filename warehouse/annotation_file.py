"""Annotation files: CSV, TSV, Parquet, JSON lines and CoNLL-U, as rows that know their lines.

What the columns mean is not known here. Raises BadAnnotationFile for what cannot be read as it was meant.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse.annotation_json import read_json_lines
from warehouse.annotation_rows import BadAnnotationFile, Rows

if TYPE_CHECKING:
    import pyarrow as pa

#: The formats, and the endings of files that are in them.
FORMATS = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "parquet": (".parquet", ".pq"),
    "jsonl": (".jsonl", ".ndjson"),
    "conllu": (".conllu", ".conll"),
}
_DELIMITERS = {"csv": ",;\t", "tsv": "\t"}
_QUOTED = r'^"([^"]|"")*"$'
_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_BLOCK_BYTES = 1 << 24


def read_rows(path: Path, form: str | None = None) -> Rows:
    """The rows of a file. form: one of FORMATS; by default what the ending of the file says."""
    form = form or _form(path)
    if not path.is_file():
        raise BadAnnotationFile(f"There is no file {path}." if not path.exists() else f"{path} is no file.")
    readers = {"parquet": _read_parquet, "jsonl": read_json_lines, "conllu": _read_conllu}
    try:
        rows = readers[form](path) if form in readers else _read_delimited(path, form)
    except OSError as error:
        raise BadAnnotationFile(f"Cannot read {path}: {error.strerror or error}.") from error
    if len(rows) == 0:
        raise BadAnnotationFile(f"{path} has no rows; give it at least one.")
    return rows


def _form(path: Path) -> str:
    for form, endings in FORMATS.items():
        if path.suffix.lower() in endings:
            return form
    raise BadAnnotationFile(
        f"The name of {path} does not tell its format: let it end in .csv, .tsv, .parquet, .jsonl or .conllu, "
        "or say which with --format."
    )


# --- CSV and TSV ------------------------------------------------------------------------------------------------------


def _read_delimited(path: Path, form: str) -> Rows:
    """A header and rows, all as text. In TSV quotes are letters, unless every cell with one is quoted properly."""
    header, delimiter = _header(path, form)
    quoted = form == "csv"
    table = _parse(path, header, delimiter, quoted)
    columns: Mapping[str, pa.Array] = {name: table.column(name).combine_chunks() for name in header}
    if not quoted:
        columns = _unquoted(columns)
    lines = _Lines(path, delimiter, quoted)
    _refuse_line_breaks(path, columns, lines)
    return Rows(path.name, columns, "line", lines)


def _header(path: Path, form: str) -> tuple[list[str], str]:
    """The names of the columns, and what separates them."""
    with path.open("rb") as file:
        start = file.read(_BLOCK_BYTES)
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            raise BadAnnotationFile(f"{path} is in {encoding}: save it as UTF-8.")
    if b"\0" in start:
        raise BadAnnotationFile(f"{path} holds bytes that are no text; is it another format? --format says which.")
    lines = start.removeprefix(b"\xef\xbb\xbf").splitlines()
    first = next((line for line in lines if line), None)
    if first is None:
        raise BadAnnotationFile(f"{path} is empty; its first line must name the columns.")
    try:
        text = first.decode()
    except UnicodeDecodeError as error:
        raise BadAnnotationFile(f"The first line of {path} is not UTF-8: convert the file to UTF-8.") from error
    delimiter = max(_DELIMITERS[form], key=text.count)
    names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
    if twins := [name for name in names if names.count(name) > 1]:
        raise BadAnnotationFile(f"{path} has two columns called {twins[0] or '(nothing)'}; name them apart.")
    return names, delimiter


def _parse(path: Path, header: Sequence[str], delimiter: str, quoted: bool) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [f"column {number}" for number in range(len(header))]
    try:
        with path.open("rb") as file:
            table = arrow_csv.read_csv(
                file,
                read_options=arrow_csv.ReadOptions(column_names=names, block_size=_BLOCK_BYTES),
                parse_options=arrow_csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoted else False),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
    except pa.ArrowInvalid as error:
        raise BadAnnotationFile(_what_is_wrong(path, len(header), delimiter, quoted, error)) from error
    # The header was read as a row, which skips the empty lines before it.
    return table.slice(1).rename_columns(list(header))


def _what_is_wrong(path: Path, n_columns: int, delimiter: str, quoted: bool, error: Exception) -> str:
    """Which line cannot be read, and why; the parser is fast and does not say."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f"{path}, line {number}, is not UTF-8: convert the file to UTF-8."
    for number, record in _records(path, delimiter, quoted):
        if len(record) != n_columns:
            return (
                f"{path}, line {number}, has {_counted(len(record))} and the header has {n_columns}: "
                "quote what holds the separator, write decimals with a point, and give every line as many columns."
            )
    return f"{path} cannot be read: {str(error).rstrip('.')}."


def _counted(n: int) -> str:
    return f"{n} column{'s' * (n != 1)}"


def _unquoted(columns: Mapping[str, pa.Array]) -> Mapping[str, pa.Array]:
    """Without the quotes around cells and their doubling, if every cell that has a quote is written so."""
    import pyarrow.compute as pc

    for column in columns.values():
        with_quote = pc.filter(column, pc.match_substring(column, '"'))
        if not pc.all(pc.match_substring_regex(with_quote, _QUOTED), min_count=0).as_py():
            return columns
    return {
        name: pc.replace_substring(pc.replace_substring_regex(column, r'^"(.*)"$', r"\1"), '""', '"')
        if pc.any(pc.match_substring(column, '"'), min_count=0).as_py()
        else column
        for name, column in columns.items()
    }


def _refuse_line_breaks(path: Path, columns: Mapping[str, pa.Array], lines: _Lines) -> None:
    """A quote that is opened and never closed would swallow rows without a word."""
    import pyarrow.compute as pc

    for name, column in columns.items():
        row = pc.index(pc.match_substring_regex(column, "[\r\n]"), True).as_py()
        if row >= 0:
            raise BadAnnotationFile(
                f"{path}, line {lines([row])[0]}: column {name} goes over several lines, as after a quote that is not "
                'closed; write a quote within quotes twice ("""").'
            )


class _Lines:
    """The lines on which rows of a delimited file begin: looked up again, since they are wanted of few rows."""

    def __init__(self, path: Path, delimiter: str, quoted: bool) -> None:
        self.path, self.delimiter, self.quoted = path, delimiter, quoted

    def __call__(self, rows: Sequence[int]) -> list[int]:
        wanted, found = set(rows), dict[int, int]()
        records = _records(self.path, self.delimiter, self.quoted)
        for row, (line, _) in enumerate(islice(records, 1, max(rows, default=0) + 2)):
            if row in wanted:
                found[row] = line
        return [found.get(row, row + 2) for row in rows]


def _records(path: Path, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Each record, the header first, with the line it begins on; empty lines are none."""
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
        before = 0
        for record in reader:
            if record:
                yield before + 1, record
            before = reader.line_num


# --- the other formats ------------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Rows:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, ValueError) as error:
        raise BadAnnotationFile(f"{path} cannot be read as Parquet: {str(error).rstrip('.')}.") from error
    columns = {name: _plain(table.column(name).combine_chunks()) for name in table.column_names}
    return Rows(path.name, columns, "row")


def _plain(column: Any) -> pa.Array:
    """A column as strings, numbers or booleans where that is what it holds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type) or pa.types.is_null(column.type):
        return pc.cast(column, pa.string())
    if pa.types.is_decimal(column.type):
        return pc.cast(column, pa.float64())
    return column


def _read_conllu(path: Path) -> Rows:
    """One row a word; what a word lacks is empty."""
    from warehouse.annotation_blocks import BLOCK_ROWS, RowBlocks
    from warehouse.conllu import COLUMNS, read_conllu

    blocks = RowBlocks()
    words = (word for sentence in read_conllu(path) for word in sentence.words)
    while block := list(islice(words, BLOCK_ROWS)):
        names = dict.fromkeys((*COLUMNS, *sorted({name for word in block for name in word.values})))
        columns = {name: [word.values.get(name) for word in block] for name in names}
        blocks.append([word.line for word in block], {"form": [word.form for word in block], **columns})
    lines = blocks.lines()
    return Rows(path.name, blocks, "line", lambda rows: [int(lines[row]) for row in rows], "word", marks_none=True)
