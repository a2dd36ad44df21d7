-- What happens in each phase of training: how convergence moves, and what the models are like on average.
-- Grain: one row per (definition, corpus, protocol, run_set, family, model, phase), as in phase_boundaries.
-- Source: phases, references and learning rates of Fehlauer et al. 2025; standard errors, and what the last phase
-- regains, are an extension.
-- requires: checkpoints, mean_reference_divergence, phases_by_value
create or replace view analysis.phase_statistics as
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
    models.mean_kl_uniform,
    models.mean_kl_unigram,
    models.mean_cross_entropy,
    total.reconverged_fraction,
    total.divergence_reduction,
    rates.first_learning_rate,
    rates.last_learning_rate,
    total.se_seed as se_seed_convergence,
    total.se_document as se_document_convergence,
    models.se_seed_kl_uniform,
    models.se_seed_kl_unigram,
    models.se_seed_cross_entropy,
    models.se_document_cross_entropy,
    total.df_seed,
    total.df_document,
    models.df_seed_models,
    models.df_seed_unigram,
    models.df_document_models,
    total.fewest_seeds,
    total.most_seeds
from analysis.phases_by_value as total
-- The error of a mean over steps is at most the mean of their errors: so it would be if nothing of them averaged out.
left join lateral (
    select
        -- A mean over some of the steps would be none over n_checkpoints.
        case when count(means.kl_uniform) = total.n_checkpoints then avg(means.kl_uniform) end as mean_kl_uniform,
        case when count(means.kl_unigram) = total.n_checkpoints then avg(means.kl_unigram) end as mean_kl_unigram,
        case when count(means.cross_entropy) = total.n_checkpoints then avg(means.cross_entropy) end
            as mean_cross_entropy,
        case when count(means.se_seed_kl_uniform) = total.n_checkpoints then avg(means.se_seed_kl_uniform) end
            as se_seed_kl_uniform,
        case when count(means.se_seed_kl_unigram) = total.n_checkpoints then avg(means.se_seed_kl_unigram) end
            as se_seed_kl_unigram,
        case when count(means.se_seed_cross_entropy) = total.n_checkpoints then avg(means.se_seed_cross_entropy) end
            as se_seed_cross_entropy,
        case when count(means.se_document_cross_entropy) = total.n_checkpoints
            then avg(means.se_document_cross_entropy)
        end as se_document_cross_entropy,
        min(means.df_seed) as df_seed_models,
        min(means.df_seed_unigram) as df_seed_unigram,
        min(means.df_document) as df_document_models
    from (
        select
            step.kl_uniform,
            step.cross_entropy,
            step.se_seed_kl_uniform,
            step.se_seed_cross_entropy,
            step.se_document_cross_entropy,
            step.df_seed,
            step.df_document,
            max(step.df_seed_reference) filter (where step.reference = 'unigram') as df_seed_unigram,
            max(step.kl_reference) filter (where step.reference = 'unigram') as kl_unigram,
            max(step.se_seed_kl_reference) filter (where step.reference = 'unigram') as se_seed_kl_unigram
        from analysis.mean_reference_divergence as step
        where
            step.corpus = total.corpus
            and step.protocol = total.protocol
            and step.family = total.family
            and step.model = total.model
            and step.step = any(total.steps)
            and step.step > total.counts_after
            and step.step <= total.last_step
        group by
            step.step, step.kl_uniform, step.cross_entropy, step.se_seed_kl_uniform, step.se_seed_cross_entropy,
            step.se_document_cross_entropy, step.df_seed, step.df_document
    ) as means
) as models on true
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
where total.is_total;

comment on view analysis.phase_statistics is
    'Phases of training in numbers: how convergence moves in each, and means of KL and cross-entropy over its steps.';
comment on column analysis.phase_statistics.definition is 'whose boundaries: fehlauer-2025, slides or estimated';
comment on column analysis.phase_statistics.corpus is 'name of the corpus';
comment on column analysis.phase_statistics.protocol is 'name of the protocol';
comment on column analysis.phase_statistics.run_set is
    'default: without flagged runs; all: with them, where one takes part';
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
    'mean KL(model || uniform) over seeds, then steps, in nats; NULL unless every step has it';
comment on column analysis.phase_statistics.mean_kl_unigram is
    'mean KL(model || unigram) over seeds, then steps, in nats; NULL unless every step has the reference';
comment on column analysis.phase_statistics.mean_cross_entropy is
    'mean surprisal of the text over seeds, then steps, in nats; NULL unless every step has it';
comment on column analysis.phase_statistics.reconverged_fraction is
    'last phase only: share of the fall from peak to trough regained by the last step; NULL where nothing fell';
comment on column analysis.phase_statistics.divergence_reduction is
    'last phase only: 1 - KL at the last step / KL at the trough; NULL without a trough';
comment on column analysis.phase_statistics.first_learning_rate is
    'learning rate at first_step, as the suite publishes it; NULL where it does not';
comment on column analysis.phase_statistics.last_learning_rate is 'learning rate at last_step';
comment on column analysis.phase_statistics.se_seed_convergence is
    'upper bound of the standard error of mean_convergence over seeds, in nats: the mean of that of its steps';
comment on column analysis.phase_statistics.se_document_convergence is
    'upper bound of its standard error over clusters of tokens, in nats: the mean of that of its steps';
comment on column analysis.phase_statistics.se_seed_kl_uniform is
    'upper bound of the standard error of mean_kl_uniform over seeds, likewise; NULL where a step has one seed';
comment on column analysis.phase_statistics.se_seed_kl_unigram is
    'upper bound of the standard error of mean_kl_unigram over seeds, likewise';
comment on column analysis.phase_statistics.se_seed_cross_entropy is
    'upper bound of the standard error of mean_cross_entropy over seeds, likewise';
comment on column analysis.phase_statistics.se_document_cross_entropy is
    'upper bound of its standard error over clusters of tokens, likewise';
comment on column analysis.phase_statistics.df_seed is
    'degrees of freedom of se_seed_convergence, the least of its steps';
comment on column analysis.phase_statistics.df_document is
    'degrees of freedom of se_document_convergence, the least of its steps';
comment on column analysis.phase_statistics.fewest_seeds is
    'fewest seeds of a step of the phase; where it is not most_seeds, steps are means over different runs';
comment on column analysis.phase_statistics.most_seeds is 'most seeds of a step of the phase';
comment on column analysis.phase_statistics.df_seed_models is
    'degrees of freedom of se_seed_kl_uniform and se_seed_cross_entropy, the least of its steps';
comment on column analysis.phase_statistics.df_seed_unigram is
    'degrees of freedom of se_seed_kl_unigram, the least of its steps';
comment on column analysis.phase_statistics.df_document_models is
    'degrees of freedom of se_document_cross_entropy, the least of its steps';
