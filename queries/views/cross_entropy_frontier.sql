-- How different in cross-entropy two checkpoints can be that predict alike: a small KL wants a small difference.
-- Grain: one row per (corpus, protocol, run_set, family, decile of mean KL); complete comparisons of kind cross.
-- Source: the slides to Fehlauer et al. 2025 show the cloud of points; its edge by deciles is an extension.
-- requires: cross_entropy_difference
create or replace view analysis.cross_entropy_frontier as
with ordered as (
    select
        corpus,
        protocol,
        run_set,
        family,
        mean_kl,
        row_number() over (by_kl order by mean_kl) as place,
        count(*) over by_kl as n,
        -- With those of the same KL, as is the greatest difference.
        count(*) over (by_kl order by mean_kl) as n_below,
        max(abs(surprisal_difference)) over (by_kl order by mean_kl) as max_surprisal_difference
    from analysis.cross_entropy_difference
    where complete and surprisal_difference is not null
    window by_kl as (partition by corpus, protocol, run_set, family)
)

select
    ordered.corpus,
    ordered.protocol,
    ordered.run_set,
    ordered.family,
    tenth.decile,
    ordered.mean_kl as max_kl,
    ordered.max_surprisal_difference,
    ordered.n_below as n_comparisons
from ordered
inner join generate_series(1, 10) as tenth (decile) on ordered.place = (tenth.decile * ordered.n + 9) / 10;

comment on view analysis.cross_entropy_frontier is
    'Largest difference of cross-entropy among comparisons of small mean KL, by deciles of mean KL (kind cross).';
comment on column analysis.cross_entropy_frontier.corpus is 'name of the corpus';
comment on column analysis.cross_entropy_frontier.protocol is 'name of the protocol';
comment on column analysis.cross_entropy_frontier.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.cross_entropy_frontier.family is 'suite of the models, such as pythia';
comment on column analysis.cross_entropy_frontier.decile is
    '1 to 10: the least tenth of mean KL, the least two tenths, ..., all';
comment on column analysis.cross_entropy_frontier.max_kl is
    'greatest mean KL of that many tenths of the comparisons, in nats';
comment on column analysis.cross_entropy_frontier.max_surprisal_difference is
    'largest |surprisal_difference| among comparisons of a mean KL up to max_kl, in nats';
comment on column analysis.cross_entropy_frontier.n_comparisons is 'comparisons of mean KL up to max_kl';
