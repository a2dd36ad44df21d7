"""Pairs of a comparison that cover different tokens: no error over seeds where they do, the usual one where not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from queries.refresh import refresh
from tests.contents import frame
from tests.queries.measured import Measured, load_layer, measure
from tests.queries.test_views import jackknife
from warehouse import comparisons
from warehouse.database import Database
from warehouse.values import CorpusValues

PAIR = (("small", 0, 16), ("small", 1, 16))
COLUMNS = "layer, value, n_tokens, convergence, se_seed, se_document, se_total"
#: Tokens that one pair lacks, all of value 0 of pos2 and of no word class.
LACKING = 40


def uneven(database: Database, seeds: tuple[int, ...]) -> Measured:
    """A warehouse where every pair lacks some tokens, and one of them more; derived from that."""
    held = measure(database, seeds=seeds, n_tokens=1300, models=("small",), steps=(16,), unmeasured=("kl",))
    places = np.flatnonzero(np.isfinite(held.kl[PAIR]))[:LACKING]
    held.kl[PAIR][places] = np.nan
    for name, codes in held.layers.items():
        held.layers[name] = np.where(np.isin(np.arange(1300), places), -1 if name == "word_class" else 0, codes)
    held.layers = {f"{name}2": codes.astype(np.int32) for name, codes in held.layers.items()}
    with database.connect() as connection:
        for place in places.tolist():
            connection.execute(
                """
                update warehouse.divergence_chunk as chunk set kl[%s] = null
                from warehouse.comparison_pair as pair, warehouse.evaluation as p, warehouse.evaluation as q,
                    warehouse.checkpoint as c, warehouse.checkpoint as d, warehouse.run as r, warehouse.run as s
                where chunk.pair_id = pair.pair_id and chunk.chunk_id = %s
                    and p.evaluation_id = pair.evaluation_p and c.checkpoint_id = p.checkpoint_id
                    and q.evaluation_id = pair.evaluation_q and d.checkpoint_id = q.checkpoint_id
                    and r.run_id = c.run_id and s.run_id = d.run_id and r.seed = 0 and s.seed = 1
                """,
                [place % 256 + 1, (held.first_token_id + place) // 256],
            )
    with database.engine().begin() as connection:
        load_layer(connection, held, "pos2")
        comparisons.derive(connection, 1, CorpusValues(held.corpus_id))
        load_layer(connection, held, "word_class2")
    return held


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 2, 3)])
def test_where_pairs_cover_different_tokens_of_a_value_it_has_no_error_over_seeds(
    database: Database, seeds: tuple[int, ...]
) -> None:
    held = uneven(database, seeds)
    pairs = {(p[1], q[1]): held.kl[p, q].astype(float) for p, q in held.members("seed", "small", 16)}
    table = pd.DataFrame(pairs)
    covered = table.notna().all(axis=1)
    query = f"select {COLUMNS} from conditional_convergence where layer ~ '2$' order by layer, value"
    found = {(row["layer"], row["value"]): row for row in frame(database, query).to_dict("records")}
    wanted = {
        (layer, f"{layer} {code}"): part
        for layer in ("pos2", "word_class2")
        for code, part in table.groupby(held.layers[layer])
        if code >= 0
    }
    assert found.keys() == wanted.keys()
    for key, part in wanted.items():
        row, common = found[key], part[covered.loc[part.index]]
        assert row["n_tokens"] == len(common)
        assert row["convergence"] == pytest.approx(-common.to_numpy().mean(), rel=1e-6)
        assert np.isfinite(row["se_document"])
        if key == ("pos2", "pos2 0"):
            assert len(common) < part[(0, 2)].notna().sum()
            assert np.isnan(row["se_seed"])
            assert np.isnan(row["se_total"])
        else:
            means = {pair: float(common[pair].mean()) for pair in pairs}
            assert row["se_seed"] == pytest.approx(jackknife(means, 2), rel=1e-6)
    whole = frame(database, "select convergence, se_seed, se_document from expected_convergence where kind = 'seed'")
    assert whole.notna().to_numpy().tolist() == [[True, False, True]]


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 2, 3)])
def test_facts_stored_sums_and_refresh_agree_where_pairs_cover_different_tokens(
    database: Database, seeds: tuple[int, ...]
) -> None:
    uneven(database, seeds)
    query = f"select {COLUMNS} from {{}} where layer ~ '^(pos|word)' order by layer, value"
    stored, exact = (frame(database, query.format(f"conditional_convergence{end}")) for end in ("", "_exact"))
    pd.testing.assert_frame_equal(exact, stored, rtol=1e-6, atol=0)
    assert stored["se_seed"].isna().any()
    assert stored["se_seed"].notna().any()
    with database.connect() as connection:
        changes = {change.table: change for change in refresh(connection)}
    for name in ("convergence_chunk", "convergence_summary"):
        change = changes[name]
        assert change.rows > 0
        assert (change.changed, change.added, change.removed) == (0, 0, 0)
