-- Benchmark results beside what the same checkpoint loses on a text, and what it cost: for one against the other.
-- Grain: one row per (family, model, seed, step, name, source, corpus, protocol): a result for each text that was scored.
-- Source: Xia et al. 2023, downstream results against perplexity and FLOPs; errors by the delta method (extension).
-- requires: bits_per_byte, evaluations, expected_surprisal, perplexity
create or replace view analysis.metric_against_loss as
select
    evaluation.family,
    evaluation.model,
    evaluation.seed,
    evaluation.step,
    metric.name,
    metric.source,
    metric.value,
    metric.standard_error,
    metric.higher_is_better,
    evaluation.corpus,
    evaluation.protocol,
    loss.surprisal as cross_entropy,
    loss.se_document as se_cross_entropy,
    analysis.perplexity(loss.surprisal) as perplexity,
    analysis.perplexity(loss.surprisal) * loss.se_document as se_perplexity,
    bits.bits_per_byte,
    bits.se_document as se_bits_per_byte,
    evaluation.parameters,
    evaluation.tokens_seen,
    evaluation.flops,
    evaluation.outlier,
    evaluation.evaluation_id,
    evaluation.checkpoint_id
from warehouse.checkpoint_metric as metric
inner join analysis.evaluations as evaluation on metric.checkpoint_id = evaluation.checkpoint_id
inner join analysis.expected_surprisal as loss on evaluation.evaluation_id = loss.evaluation_id
left join analysis.bits_per_byte as bits on evaluation.evaluation_id = bits.evaluation_id;

comment on view analysis.metric_against_loss is
    'Benchmark results of checkpoints against cross-entropy, perplexity and bits per byte on a text, and FLOPs.';
comment on column analysis.metric_against_loss.family is 'suite of the model, such as pythia';
comment on column analysis.metric_against_loss.model is 'name of the model within its family';
comment on column analysis.metric_against_loss.seed is 'seed of the training run';
comment on column analysis.metric_against_loss.step is 'optimiser steps taken';
comment on column analysis.metric_against_loss.name is 'task and metric, such as lambada_openai/perplexity';
comment on column analysis.metric_against_loss.source is
    'where the result came from, such as lm-evaluation-harness, 0-shot; results of several sources are not to be mixed';
comment on column analysis.metric_against_loss.value is 'the result, in the unit of its metric';
comment on column analysis.metric_against_loss.standard_error is
    'standard error that the source gives, over the items of the task; NULL where it gives none';
comment on column analysis.metric_against_loss.higher_is_better is
    'which way the metric improves: true upwards, false downwards; NULL where not known';
comment on column analysis.metric_against_loss.corpus is 'name of the corpus';
comment on column analysis.metric_against_loss.protocol is 'name of the protocol';
comment on column analysis.metric_against_loss.cross_entropy is 'mean surprisal of the corpus, in nats';
comment on column analysis.metric_against_loss.se_cross_entropy is
    'its standard error over clusters of tokens, in nats';
comment on column analysis.metric_against_loss.perplexity is 'exp of cross_entropy; infinity above 709 nats';
comment on column analysis.metric_against_loss.se_perplexity is 'its standard error: perplexity x se_cross_entropy';
comment on column analysis.metric_against_loss.bits_per_byte is
    'surprisal of whole documents in bits by their bytes; NULL where none was scored as a whole';
comment on column analysis.metric_against_loss.se_bits_per_byte is 'its standard error over documents, in bits';
comment on column analysis.metric_against_loss.parameters is 'parameters, embeddings included';
comment on column analysis.metric_against_loss.tokens_seen is 'training tokens seen';
comment on column analysis.metric_against_loss.flops is 'training compute, 6 x parameters x tokens seen';
comment on column analysis.metric_against_loss.outlier is
    'the training run is flagged, and left out of run set default';
comment on column analysis.metric_against_loss.evaluation_id is 'key of warehouse.evaluation';
comment on column analysis.metric_against_loss.checkpoint_id is 'key of warehouse.checkpoint';
