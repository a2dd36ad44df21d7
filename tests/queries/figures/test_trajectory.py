"""One token over training: what is read against the arrays that were loaded, and what is drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from queries.figures import trajectory
from queries.figures.choice import Choice, UnknownChoice, choose_scored
from queries.figures.reading import Source
from tests.queries.measured import PIECES, Measured


def test_surprisal_and_convergence_are_those_of_the_token(measured: Measured) -> None:
    place = 300
    token = measured.first_token_id + place
    with measured.database.read() as reader:
        source = Source(reader)
        subject = choose_scored(source, Choice())
        surprisal = trajectory.read_surprisal(source, subject, token)
        convergence = trajectory.read_convergence(source, subject, token)
    assert len(surprisal) == len(measured.scores)
    for row in surprisal.itertuples():
        assert row.surprisal == pytest.approx(measured.scores[row.model, row.seed, row.step]["surprisal"][place])
    assert len(convergence) == 2 * len(measured.steps)
    for row in convergence.itertuples():
        assert row.convergence == pytest.approx(-measured.mean("seed", row.model, row.step)[place])


def test_the_caption_quotes_the_token_amid_its_document(measured: Measured) -> None:
    first = int(np.flatnonzero(np.diff(measured.documents))[0]) + 1
    token = measured.first_token_id + first
    with measured.database.read() as reader:
        drawing = trajectory.draw(reader, Choice(), token)
    pieces = [PIECES[vocab_id] for vocab_id in measured.vocab_ids[first : first + 9]]
    # Nothing of the document before.
    assert f"… {' '.join((f'[{pieces[0]}]' + ''.join(pieces[1:])).split())} …" in drawing.caption.subtitle
    assert len(drawing.statements) == 2


def test_a_token_that_no_corpus_has_is_an_error_that_says_how_to_find_one(measured: Measured) -> None:
    with measured.database.read() as reader, pytest.raises(UnknownChoice, match="no token 99999999"):
        trajectory.draw(reader, Choice(), 99_999_999)


def test_the_mean_over_seeds_stands_out_from_the_seeds() -> None:
    rows = [(seed, step, seed + step) for seed in (0, 1, 2) for step in (0, 8)]
    surprisal = pd.DataFrame(rows, columns=["seed", "step", "surprisal"]).assign(model="m")
    convergence = pd.DataFrame({"model": "m", "step": [0, 8], "convergence": [-0.5, -0.25]})
    figure = trajectory.paint(surprisal, convergence, None)
    left, right = figure.axes
    *seeds, mean = left.lines
    assert [list(line.get_ydata()) for line in seeds] == [[0, 8], [1, 9], [2, 10]]
    assert list(mean.get_ydata()) == [1, 9]
    assert mean.get_linewidth() > seeds[0].get_linewidth()
    assert list(right.lines[0].get_ydata()) == [-0.5, -0.25]
    assert (left.get_ylabel(), right.get_ylabel()) == ("surprisal (nats)", "convergence (nats)")


def test_a_single_seed_has_a_panel_of_surprisal_only() -> None:
    surprisal = pd.DataFrame({"seed": 0, "step": [0, 8], "surprisal": [7.0, 3.0], "model": "m"})
    nothing = pd.DataFrame({"model": [], "step": [], "convergence": []})
    assert len(trajectory.paint(surprisal, nothing, None).axes) == 1
