-- Convergence by type: on which entries of the vocabulary models agree least, middling and most, tokens of any number.
-- From facts, one comparison at a time, so that a condition on comparisons decides how many are read: name one.
-- Grain: one row per (comparison, vocab_id) that the corpus has.
-- Source: Fehlauer et al. 2025, conditional convergence; ratio estimator over text (extension).
-- requires: vocabulary_convergence_with
create or replace view analysis.vocabulary_convergence as
select
    type.kind,
    type.corpus,
    type.protocol,
    type.run_set,
    type.family,
    type.model,
    type.step,
    type.model_q,
    type.step_q,
    type.vocab_id,
    type.piece,
    type.n_tokens,
    type.convergence,
    type.se_document,
    type.place,
    type.percentile,
    type.n_types,
    type.n_pairs,
    type.complete,
    type.sd_tokens,
    type.cluster,
    type.n_clusters,
    type.df_document,
    type.comparison_id
from analysis.vocabulary_convergence_with() as type;

comment on view analysis.vocabulary_convergence is
    'Convergence by type: minus the mean KL over the tokens of each entry of the vocabulary, and its place.';
comment on column analysis.vocabulary_convergence.kind is
    'seed, step, step_reverse, final, final_reverse, size, matched, cross or custom: which pairs are compared';
comment on column analysis.vocabulary_convergence.corpus is 'name of the corpus';
comment on column analysis.vocabulary_convergence.protocol is 'name of the protocol';
comment on column analysis.vocabulary_convergence.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.vocabulary_convergence.family is 'suite of the models, such as pythia';
comment on column analysis.vocabulary_convergence.model is 'model that gives p';
comment on column analysis.vocabulary_convergence.step is 'training step that gives p';
comment on column analysis.vocabulary_convergence.model_q is 'model that gives q';
comment on column analysis.vocabulary_convergence.step_q is 'training step that gives q';
comment on column analysis.vocabulary_convergence.vocab_id is 'id of the type in the vocabulary of the tokenizer';
comment on column analysis.vocabulary_convergence.piece is 'what the type spells';
comment on column analysis.vocabulary_convergence.n_tokens is 'tokens of the type with a measured KL';
comment on column analysis.vocabulary_convergence.convergence is
    'minus the mean KL over ordered pairs and tokens, in nats; never positive, rises as the models agree';
comment on column analysis.vocabulary_convergence.se_document is
    'standard error over clusters of tokens, in nats; NULL below settings.min_clusters of them';
comment on column analysis.vocabulary_convergence.place is
    'place among the types of the comparison, 1 where models agree least; types that agree equally share one';
comment on column analysis.vocabulary_convergence.percentile is
    'share of the other types that agree less, from 0 where models agree least to 1 where most';
comment on column analysis.vocabulary_convergence.n_types is 'types that have a place';
comment on column analysis.vocabulary_convergence.n_pairs is 'ordered pairs averaged';
comment on column analysis.vocabulary_convergence.complete is 'all ordered pairs that the plan wants are measured';
comment on column analysis.vocabulary_convergence.sd_tokens is
    'standard deviation of the tokens'' convergence, in nats; a spread, not an error';
comment on column analysis.vocabulary_convergence.cluster is
    'what se_document takes as independent: document, or chunk where documents are few';
comment on column analysis.vocabulary_convergence.n_clusters is 'clusters that hold such tokens';
comment on column analysis.vocabulary_convergence.df_document is 'degrees of freedom of se_document: clusters less one';
comment on column analysis.vocabulary_convergence.comparison_id is 'key of warehouse.comparison';
