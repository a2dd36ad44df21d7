-- convergence_difference by names: between two steps, two models or two values of a layer; what is not said of b is as in
-- a. One row per protocol, run set and family that have both, and per what p is held against where that is several models
-- or, of kinds cross and custom, steps.
-- Source: an extension.
-- requires: chosen_run_set, comparisons, convergence_difference
create or replace function analysis.convergence_difference_between(
    corpus text,
    model_a text,
    step_a integer,
    model_b text default null,
    step_b integer default null,
    layer text default null,
    value_a text default null,
    value_b text default null,
    kind text default 'seed',
    confidence double precision default 0.95
) returns table (
    protocol text,
    run_set text,
    family text,
    n_tokens_a bigint,
    n_tokens_b bigint,
    convergence_a double precision,
    convergence_b double precision,
    difference double precision,
    se_seed double precision,
    se_document double precision,
    se_total double precision,
    lower double precision,
    upper double precision,
    df_seed integer,
    df_document integer,
    df_total integer,
    n_clusters integer,
    cluster text,
    comparison_a integer,
    comparison_b integer,
    complete boolean,
    model_q_a text,
    step_q_a integer,
    model_q_b text,
    step_q_b integer
)
language sql stable parallel safe
as $$
select
    one.protocol,
    one.run_set,
    one.family,
    found.n_tokens_a,
    found.n_tokens_b,
    found.convergence_a,
    found.convergence_b,
    found.difference,
    found.se_seed,
    found.se_document,
    found.se_total,
    found.lower,
    found.upper,
    found.df_seed,
    found.df_document,
    found.df_total,
    found.n_clusters,
    found.cluster,
    one.comparison_id as comparison_a,
    other.comparison_id as comparison_b,
    found.complete,
    one.model_q as model_q_a,
    one.step_q as step_q_a,
    other.model_q as model_q_b,
    other.step_q as step_q_b
from analysis.comparisons as one
inner join analysis.comparisons as other
    on
        one.kind = other.kind
        and one.corpus_id = other.corpus_id
        and one.protocol_id = other.protocol_id
        and one.run_set = other.run_set
        and one.family = other.family
        -- What p is held against: itself, or the same other model.
        and other.model_q = case one.model_q when one.model then other.model else one.model_q end
cross join lateral analysis.convergence_difference(
    one.comparison_id,
    other.comparison_id,
    convergence_difference_between.layer,
    convergence_difference_between.value_a,
    convergence_difference_between.value_b,
    convergence_difference_between.confidence
) as found
where
    one.kind = convergence_difference_between.kind
    and one.corpus = convergence_difference_between.corpus
    and one.run_set = analysis.chosen_run_set()
    and one.model = convergence_difference_between.model_a
    -- The earlier step, which kinds in reverse have as that of q. Said twice, since only the first finds rows by it.
    and convergence_difference_between.step_a in (one.step, one.step_q)
    and convergence_difference_between.step_a
    = case when one.kind in ('step_reverse', 'final_reverse') then one.step_q else one.step end
    and other.kind = convergence_difference_between.kind
    and other.model = coalesce(convergence_difference_between.model_b, convergence_difference_between.model_a)
    and coalesce(convergence_difference_between.step_b, convergence_difference_between.step_a)
    in (other.step, other.step_q)
    and coalesce(convergence_difference_between.step_b, convergence_difference_between.step_a)
    = case when other.kind in ('step_reverse', 'final_reverse') then other.step_q else other.step end
    and one.n_pairs > 0
    and other.n_pairs > 0
    and one.preferred
    and other.preferred
$$;

comment on function analysis.convergence_difference_between(
    text, text, integer, text, integer, text, text, text, text, double precision
) is
'Difference of convergence between two steps (step_a and step_b), two models (model_a and model_b) or two values of a
layer (value_a and value_b), or of any of these together; what is not said of b is as in a. Columns as in
convergence_difference, whose keys comparison_a and comparison_b are; model_q_a, step_q_a, model_q_b and step_q_b say
what p is held against in either, the nearest next and the latest last step where lists of steps name several. Of kinds
step_reverse and final_reverse step_a and step_b are those of q, the earlier ones. difference is a minus b, in nats,
above 0 where models agree better in a. Errors are paired by document and by label of the seed';
