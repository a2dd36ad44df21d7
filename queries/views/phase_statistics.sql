-- What happens in each phase of training: how convergence moves, and what the models are like on average.
-- Grain: one row per (definition, corpus, protocol, run_set, family, model, phase), as in phase_boundaries.
-- Source: phases, references and learning rates of Fehlauer et al. 2025; what the last phase regains is an extension.
-- requires: checkpoints, chosen_run_set, phases_by_value, reference_divergence
create or replace view analysis.phase_statistics as
with checkpoint as (
    select
        corpus,
        protocol,
        family,
        model,
        step,
        max(kl_uniform) as kl_uniform,
        max(kl_reference) filter (where reference = 'unigram') as kl_unigram,
        max(cross_entropy) as cross_entropy
    from analysis.reference_divergence
    where not outlier or analysis.chosen_run_set() = 'all'
    group by evaluation_id, corpus, protocol, family, model, step
),

seeds as (
    select
        corpus,
        protocol,
        family,
        model,
        step,
        avg(kl_uniform) as kl_uniform,
        avg(kl_unigram) as kl_unigram,
        avg(cross_entropy) as cross_entropy
    from checkpoint
    group by corpus, protocol, family, model, step
)

select
    total.definition,
    total.corpus,
    total.protocol,
    total.run_set,
    total.family,
    total.model,
    total.position,
    total.phase,
    total.first_step,
    total.last_step,
    total.n_checkpoints,
    total.convergence_change,
    total.slope_per_log2_step,
    total.mean_convergence,
    avg(seeds.kl_uniform) as mean_kl_uniform,
    avg(seeds.kl_unigram) as mean_kl_unigram,
    avg(seeds.cross_entropy) as mean_cross_entropy,
    total.reconverged_fraction,
    total.divergence_reduction,
    rates.first_learning_rate,
    rates.last_learning_rate
from analysis.phases_by_value as total
left join seeds
    on total.corpus = seeds.corpus
    and total.protocol = seeds.protocol
    and total.family = seeds.family
    and total.model = seeds.model
    and seeds.step = any(total.steps)
    and total.counts_after < seeds.step
    and total.last_step >= seeds.step
-- The schedule is that of all seeds.
left join lateral (
    select
        max(checkpoints.learning_rate) filter (where checkpoints.step = total.first_step) as first_learning_rate,
        max(checkpoints.learning_rate) filter (where checkpoints.step = total.last_step) as last_learning_rate
    from analysis.checkpoints
    where
        checkpoints.family = total.family
        and checkpoints.model = total.model
        and checkpoints.step in (total.first_step, total.last_step)
) as rates on true
where total.is_total
group by
    total.definition, total.corpus, total.protocol, total.run_set, total.family, total.model, total.position,
    total.phase, total.first_step, total.last_step, total.n_checkpoints, total.convergence_change,
    total.slope_per_log2_step, total.mean_convergence, total.reconverged_fraction, total.divergence_reduction,
    rates.first_learning_rate, rates.last_learning_rate;

comment on view analysis.phase_statistics is
    'Phases of training in numbers: how convergence moves in each, and means of KL and cross-entropy over its steps.';
comment on column analysis.phase_statistics.definition is 'whose boundaries: fehlauer-2025, slides or estimated';
comment on column analysis.phase_statistics.corpus is 'name of the corpus';
comment on column analysis.phase_statistics.protocol is 'name of the protocol';
comment on column analysis.phase_statistics.run_set is 'default: without flagged runs; all: with them';
comment on column analysis.phase_statistics.family is 'suite of models';
comment on column analysis.phase_statistics.model is 'name of the model within its family';
comment on column analysis.phase_statistics.position is 'order of the phase within its definition, from 1';
comment on column analysis.phase_statistics.phase is 'name of the phase';
comment on column analysis.phase_statistics.first_step is 'first measured step of the phase';
comment on column analysis.phase_statistics.last_step is 'last measured step of the phase';
comment on column analysis.phase_statistics.n_checkpoints is 'steps measured in the phase, those the means are over';
comment on column analysis.phase_statistics.convergence_change is
    'expected convergence at last_step minus that at first_step, in nats; above 0 where the models come to agree';
comment on column analysis.phase_statistics.slope_per_log2_step is
    'least-squares slope of convergence on log2(step + 1), both ends included, in nats per doubling; NULL for one step';
comment on column analysis.phase_statistics.mean_convergence is
    'mean of expected convergence over the steps that count, in nats; never positive';
comment on column analysis.phase_statistics.mean_kl_uniform is
    'mean KL(model || uniform) over seeds, then steps, in nats';
comment on column analysis.phase_statistics.mean_kl_unigram is
    'mean KL(model || unigram) over seeds, then steps, in nats; NULL without a reference named unigram';
comment on column analysis.phase_statistics.mean_cross_entropy is
    'mean surprisal of the text over seeds, then steps, in nats';
comment on column analysis.phase_statistics.reconverged_fraction is
    'last phase only: share of the fall from peak to trough regained by the last step; NULL where nothing fell';
comment on column analysis.phase_statistics.divergence_reduction is
    'last phase only: 1 - KL at the last step / KL at the trough; NULL without a trough';
comment on column analysis.phase_statistics.first_learning_rate is
    'learning rate at first_step, as the suite publishes it; NULL where it does not';
comment on column analysis.phase_statistics.last_learning_rate is 'learning rate at last_step';
