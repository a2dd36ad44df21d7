-- What is compared with what: the pairs of models that answer one question at one step, over all seeds.
-- Grain: one row per (kind, corpus, protocol, run_set, family, model, step, model_q, step_q), planned ones included.
-- Where studies of several lists of steps meet, a step may have several next and last ones: `preferred` is the one
-- rule by which curves and fits choose among them.
create or replace view analysis.comparisons as
select
    comparison.kind,
    corpus.name as corpus,
    protocol.name as protocol,
    comparison.run_set,
    model.family,
    model.name as model,
    comparison.step,
    model_q.name as model_q,
    comparison.step_q,
    comparison.n_pairs,
    -- equal in fact; the planner takes an equality for rare, and would join by nested loops
    comparison.n_pairs >= greatest(comparison.n_pairs_expected, 1) as complete,
    comparison.n_pairs_expected,
    cardinality(comparison.seeds) as n_seeds,
    comparison.seeds,
    comparison.seed_pairs,
    comparison.sd_pairs,
    ln(nullif(comparison.step_q, 0) / nullif(comparison.step, 0)::double precision) / ln(2::double precision)
        as log2_step_ratio,
    comparison.surprisal_difference,
    corpus.cluster,
    comparison.comparison_id,
    comparison.corpus_id,
    comparison.protocol_id,
    comparison.model_id,
    comparison.model_q_id,
    -- A list of its own, which is worked out once a query, and not at all where only other kinds are asked for.
    case
        when comparison.kind in ('step', 'step_reverse', 'final', 'final_reverse') then comparison.comparison_id in (
            select ranked.comparison_id
            from (
                select
                    other.comparison_id,
                    rank() over (
                        partition by
                            other.kind,
                            other.corpus_id,
                            other.protocol_id,
                            other.run_set,
                            other.model_id,
                            other.model_q_id,
                            case other.kind when 'step' then other.step when 'step_reverse' then other.step_q end
                        order by
                            case other.kind
                                when 'step' then other.step_q
                                when 'step_reverse' then other.step
                                when 'final' then -other.step_q
                                else -other.step
                            end
                    ) as place
                from warehouse.comparison as other
                where other.kind in ('step', 'step_reverse', 'final', 'final_reverse')
            ) as ranked
            where ranked.place = 1
        )
        else true
    end as preferred
from warehouse.comparison as comparison
inner join warehouse.corpus as corpus on comparison.corpus_id = corpus.corpus_id
inner join warehouse.protocol as protocol on comparison.protocol_id = protocol.protocol_id
inner join warehouse.model as model on comparison.model_id = model.model_id
inner join warehouse.model as model_q on comparison.model_q_id = model_q.model_id;

comment on view analysis.comparisons is
    'Comparisons, measured or planned: which models and steps are held against each other.';
comment on column analysis.comparisons.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.comparisons.corpus is 'name of the corpus';
comment on column analysis.comparisons.protocol is 'name of the protocol';
comment on column analysis.comparisons.run_set is 'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.comparisons.family is 'suite of the models, such as pythia';
comment on column analysis.comparisons.model is 'model that gives p';
comment on column analysis.comparisons.step is 'training step that gives p';
comment on column analysis.comparisons.model_q is 'model that gives q';
comment on column analysis.comparisons.step_q is 'training step that gives q';
comment on column analysis.comparisons.n_pairs is 'ordered pairs measured';
comment on column analysis.comparisons.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.comparisons.n_pairs_expected is 'ordered pairs wanted';
comment on column analysis.comparisons.n_seeds is 'seeds that take part';
comment on column analysis.comparisons.seeds is 'seeds that take part, ascending';
comment on column analysis.comparisons.seed_pairs is 'pairs touching each seed, in the order of seeds';
comment on column analysis.comparisons.sd_pairs is
    'standard deviation of the pairs'' mean KL, in nats; a spread, not an error';
comment on column analysis.comparisons.log2_step_ratio is
    'log2(step_q / step), the gap between the steps; NULL where either is 0';
comment on column analysis.comparisons.surprisal_difference is
    'mean over pairs of the mean surprisal of p less that of q, in nats; NULL for seed, whose pairs go both ways';
comment on column analysis.comparisons.cluster is
    'what standard errors take as independent: document, or chunk where documents are few';
comment on column analysis.comparisons.comparison_id is 'key of warehouse.comparison';
comment on column analysis.comparisons.corpus_id is 'key of warehouse.corpus';
comment on column analysis.comparisons.protocol_id is 'key of warehouse.protocol';
comment on column analysis.comparisons.model_id is 'key of warehouse.model, for p';
comment on column analysis.comparisons.model_q_id is 'key of warehouse.model, for q';
comment on column analysis.comparisons.preferred is
    'of several next steps of the earlier one the nearest, of several last steps the latest; true for other kinds';
