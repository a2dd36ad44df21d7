-- KL between two checkpoints over each document, for every ordered pair of a comparison.
-- Grain: one row per (comparison, seed_p, seed_q, document).
-- Source: sums of KL over documents, kept when the pair was measured.
-- requires: chosen_run_set, comparisons
create or replace view analysis.sequence_divergence as
select
    comparison.kind,
    comparison.corpus,
    comparison.protocol,
    comparison.run_set,
    comparison.family,
    comparison.model,
    comparison.step,
    comparison.model_q,
    comparison.step_q,
    run_p.seed as seed_p,
    run_q.seed as seed_q,
    document.document,
    document.name,
    item.n_tokens,
    -- double precision, because a sum of reals loses digits
    item.kl::double precision as sum_kl,
    item.kl::double precision / nullif(item.n_tokens, 0) as kl,
    pair.pair_id,
    comparison.comparison_id
from analysis.comparisons as comparison
inner join warehouse.comparison_member as member on comparison.comparison_id = member.comparison_id
inner join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
inner join warehouse.evaluation as evaluation_p on pair.evaluation_p = evaluation_p.evaluation_id
inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
inner join warehouse.evaluation as evaluation_q on pair.evaluation_q = evaluation_q.evaluation_id
inner join warehouse.checkpoint as checkpoint_q on evaluation_q.checkpoint_id = checkpoint_q.checkpoint_id
inner join warehouse.run as run_q on checkpoint_q.run_id = run_q.run_id
inner join warehouse.document_divergence_chunk as chunk on pair.pair_id = chunk.pair_id
cross join lateral unnest(chunk.n_tokens, chunk.kl) with ordinality as item (n_tokens, kl, ordinality)
inner join warehouse.document as document
    on
        comparison.corpus_id = document.corpus_id
        and chunk.document_chunk * 256 + item.ordinality - 1 = document.document
-- Of kind cross only sums are kept; a pair that was measured for another kind too is shown under that one.
where comparison.run_set = analysis.chosen_run_set() and comparison.kind <> 'cross';

comment on view analysis.sequence_divergence is
    'Sequence divergence: KL(p || q) of each ordered pair, summed over each document.';
comment on column analysis.sequence_divergence.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched or custom: which pairs are compared';
comment on column analysis.sequence_divergence.corpus is 'name of the corpus';
comment on column analysis.sequence_divergence.protocol is 'name of the protocol';
comment on column analysis.sequence_divergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.sequence_divergence.family is 'suite of the models, such as pythia';
comment on column analysis.sequence_divergence.model is 'model that gives p';
comment on column analysis.sequence_divergence.step is 'training step that gives p';
comment on column analysis.sequence_divergence.model_q is 'model that gives q';
comment on column analysis.sequence_divergence.step_q is 'training step that gives q';
comment on column analysis.sequence_divergence.seed_p is 'seed of the run that gives p';
comment on column analysis.sequence_divergence.seed_q is 'seed of the run that gives q';
comment on column analysis.sequence_divergence.document is 'number of the document within its corpus, from 0';
comment on column analysis.sequence_divergence.name is 'name of the document';
comment on column analysis.sequence_divergence.n_tokens is
    'tokens measured, EOS included; context that is not to be scored is not among them';
comment on column analysis.sequence_divergence.sum_kl is
    'sum of KL(p || q) over them, in nats; NULL where none was measured';
comment on column analysis.sequence_divergence.kl is 'mean KL(p || q) over them, in nats';
comment on column analysis.sequence_divergence.pair_id is 'key of warehouse.comparison_pair';
comment on column analysis.sequence_divergence.comparison_id is 'key of warehouse.comparison';
