-- At which step a model is closest to a reference such as unigram counts, and what it says on either side of it.
-- Grain: one row per (corpus, protocol, run_set, family, model, reference).
-- Source: Fehlauer et al. 2025, the step of least KL to unigram, on means over seeds. Steps count that have
-- the same number of seeds: the most that settings.phase_min_steps steps have, or else the most frequent.
-- requires: mean_reference_divergence
create or replace view analysis.reference_step as
select
    curve.corpus,
    curve.protocol,
    curve.run_set,
    curve.family,
    curve.model,
    curve.reference,
    curve.step,
    curve.kl_reference,
    curve.se_seed_kl_reference,
    curve.step_before,
    curve.kl_before,
    curve.step_after,
    curve.kl_after,
    curve.n_seeds_reference as n_seeds,
    curve.df_seed_reference as df_seed,
    curve.n_steps
from (
    select
        mean.*,
        lag(mean.step) over by_step as step_before,
        lag(mean.kl_reference) over by_step as kl_before,
        lead(mean.step) over by_step as step_after,
        lead(mean.kl_reference) over by_step as kl_after,
        count(*) over same_curve as n_steps,
        -- Of several the earliest.
        row_number() over (same_curve order by mean.kl_reference, mean.step) as place
    from (
        select
            every.*,
            first_value(every.n_seeds_reference) over (
                partition by
                    every.corpus, every.protocol, every.run_set, every.family, every.model, every.reference
                order by
                    least(every.n_steps_alike, (select its.phase_min_steps from warehouse.settings as its)) desc,
                    every.n_seeds_reference desc
            ) as usual_seeds
        from (
            select
                counted.*,
                count(*) over (
                    partition by
                        counted.corpus, counted.protocol, counted.run_set, counted.family, counted.model,
                        counted.reference, counted.n_seeds_reference
                ) as n_steps_alike
            from analysis.mean_reference_divergence as counted
            where counted.kl_reference is not null
        ) as every
    ) as mean
    -- A step of other seeds is a mean over others, and may lie lower for that alone.
    where mean.n_seeds_reference = mean.usual_seeds
    window
        same_curve as (
            partition by mean.corpus, mean.protocol, mean.run_set, mean.family, mean.model, mean.reference
        ),
        by_step as (same_curve order by mean.step)
) as curve
where curve.place = 1;

comment on view analysis.reference_step is
    'The step at which a model is closest to a reference such as unigram counts: least KL(model || reference).';
comment on column analysis.reference_step.corpus is 'name of the corpus';
comment on column analysis.reference_step.protocol is 'name of the protocol';
comment on column analysis.reference_step.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.reference_step.family is 'suite of the model, such as pythia';
comment on column analysis.reference_step.model is 'name of the model within its family';
comment on column analysis.reference_step.reference is 'name of the reference distribution';
comment on column analysis.reference_step.step is
    'step of least KL to it, mean over seeds, of those with n_seeds seeds; the earliest of several';
comment on column analysis.reference_step.kl_reference is 'mean KL(model || reference) there, in nats';
comment on column analysis.reference_step.se_seed_kl_reference is
    'its standard error over seeds, in nats; NULL for one seed';
comment on column analysis.reference_step.step_before is
    'step with as many seeds before it; NULL where it is the first';
comment on column analysis.reference_step.kl_before is 'mean KL at step_before, in nats';
comment on column analysis.reference_step.step_after is
    'step with as many seeds after it; NULL where it is the last';
comment on column analysis.reference_step.kl_after is 'mean KL at step_after, in nats';
comment on column analysis.reference_step.n_seeds is
    'seeds that were measured at the step, and at every step that was compared';
comment on column analysis.reference_step.df_seed is 'degrees of freedom of se_seed: seeds less one';
comment on column analysis.reference_step.n_steps is 'steps that were compared, those with n_seeds seeds';
