-- What happens in each phase of training: how convergence moves, and what the models are like on average.
-- Grain: one row per (definition, corpus, protocol, run_set, family, model, phase), as in phase_boundaries.
-- Source: phases and references of Fehlauer et al. 2025; what the last phase regains is an extension.
-- requires: chosen_run_set, expected_convergence, phase_boundaries, reference_divergence
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

-- Stacked and grouped, not joined: the planner takes a join on so many names for one of a single row.
measured as (
    select
        reading.corpus,
        reading.protocol,
        reading.family,
        reading.model,
        reading.step,
        ln(reading.step + 1.0::double precision) / ln(2.0::double precision) as log2_step,
        max(reading.convergence) as convergence,
        avg(reading.kl_uniform) as kl_uniform,
        avg(reading.kl_unigram) as kl_unigram,
        avg(reading.cross_entropy) as cross_entropy
    from (
        select
            corpus,
            protocol,
            family,
            model,
            step,
            convergence,
            null::double precision as kl_uniform,
            null::double precision as kl_unigram,
            null::double precision as cross_entropy
        from analysis.expected_convergence
        where kind = 'seed' and complete
        union all
        select
            corpus,
            protocol,
            family,
            model,
            step,
            null as convergence,
            kl_uniform,
            kl_unigram,
            cross_entropy
        from checkpoint
    ) as reading
    group by reading.corpus, reading.protocol, reading.family, reading.model, reading.step
    having max(reading.convergence) is not null
),

-- Phases share their boundary step: it counts for the earlier one, and the first phase has its first step as well.
boundaries as (
    select
        *,
        coalesce(published_first_step, first_step) as after_step,
        position = min(position) over curve as is_first,
        position = max(position) over curve as is_last
    from analysis.phase_boundaries
    window curve as (partition by definition, corpus, protocol, run_set, family, model)
),

steps as (
    select
        boundaries.*,
        measured.step,
        measured.log2_step,
        measured.convergence,
        measured.kl_uniform,
        measured.kl_unigram,
        measured.cross_entropy,
        measured.step between boundaries.first_step and boundaries.last_step as is_within,
        (measured.step > boundaries.after_step or boundaries.is_first and measured.step = boundaries.first_step)
        and measured.step <= boundaries.last_step as counts
    from boundaries
    inner join measured
        on boundaries.corpus = measured.corpus
        and boundaries.protocol = measured.protocol
        and boundaries.family = measured.family
        and boundaries.model = measured.model
),

phases as (
    select
        definition,
        corpus,
        protocol,
        run_set,
        family,
        model,
        position,
        phase,
        first_step,
        last_step,
        is_last,
        count(*) filter (where counts) as n_checkpoints,
        max(convergence) filter (where step = last_step) - max(convergence) filter (where step = first_step)
            as convergence_change,
        regr_slope(convergence, log2_step) filter (where is_within) as slope_per_log2_step,
        avg(convergence) filter (where counts) as mean_convergence,
        avg(kl_uniform) filter (where counts) as mean_kl_uniform,
        avg(kl_unigram) filter (where counts) as mean_kl_unigram,
        avg(cross_entropy) filter (where counts) as mean_cross_entropy,
        max(convergence) filter (where step = peak_step) as peak_convergence,
        max(convergence) filter (where step = trough_step) as trough_convergence,
        (array_agg(convergence order by step desc))[1] as end_convergence
    from steps
    group by
        definition, corpus, protocol, run_set, family, model, position, phase, first_step, last_step, is_last
)

select
    definition,
    corpus,
    protocol,
    run_set,
    family,
    model,
    position,
    phase,
    first_step,
    last_step,
    n_checkpoints,
    convergence_change,
    slope_per_log2_step,
    mean_convergence,
    mean_kl_uniform,
    mean_kl_unigram,
    mean_cross_entropy,
    case
        when is_last and peak_convergence > trough_convergence
            then (end_convergence - trough_convergence) / (peak_convergence - trough_convergence)
    end as reconverged_fraction,
    case when is_last then 1 - end_convergence / nullif(trough_convergence, 0) end as divergence_reduction
from phases;

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
