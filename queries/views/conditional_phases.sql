-- Phases of training of the tokens with one value of a layer: which parts of speech reconverge, and when.
-- Grain: one row per (definition, corpus, protocol, run_set, family, model, layer, value, phase); what does not occur is
-- absent. Boundaries that are estimated are those of the value's own curve.
-- Source: an extension, after the phases and the conditional convergence of Fehlauer et al. 2025.
-- requires: phases_by_value
create or replace view analysis.conditional_phases as
select
    part.definition,
    part.corpus,
    part.protocol,
    part.run_set,
    part.family,
    part.model,
    part.layer,
    part.value,
    part.n_tokens,
    part.position,
    part.phase,
    part.first_step,
    part.last_step,
    part.converges,
    part.diverges,
    part.reconverges,
    part.peak_step,
    part.trough_step,
    part.n_steps,
    part.n_checkpoints,
    part.convergence_change,
    part.slope_per_log2_step,
    part.mean_convergence,
    part.reconverged_fraction,
    part.divergence_reduction,
    part.value_number,
    part.se_seed,
    part.se_document,
    part.df_seed,
    part.df_document,
    part.fewest_seeds,
    part.most_seeds
from analysis.phases_by_value as part
where not part.is_total;

comment on view analysis.conditional_phases is
    'Phases of training by value of an annotation layer: boundaries and how conditional convergence moves in each.';
comment on column analysis.conditional_phases.definition is
    'whose boundaries: fehlauer-2025 or slides, published, or estimated';
comment on column analysis.conditional_phases.corpus is 'name of the corpus';
comment on column analysis.conditional_phases.protocol is 'name of the protocol';
comment on column analysis.conditional_phases.run_set is
    'default: without flagged runs; all: with them, where one takes part';
comment on column analysis.conditional_phases.family is 'suite of models';
comment on column analysis.conditional_phases.model is 'name of the model within its family';
comment on column analysis.conditional_phases.layer is 'name of the annotation layer';
comment on column analysis.conditional_phases.value is 'value of the layer';
comment on column analysis.conditional_phases.n_tokens is 'tokens with a measured KL';
comment on column analysis.conditional_phases.position is 'order of the phase within its definition, from 1';
comment on column analysis.conditional_phases.phase is 'name of the phase';
comment on column analysis.conditional_phases.first_step is 'first measured step of the phase';
comment on column analysis.conditional_phases.last_step is 'last measured step of the phase';
comment on column analysis.conditional_phases.converges is
    'estimated: the curve rises by at least settings.phase_change of its greatest KL; NULL where published';
comment on column analysis.conditional_phases.diverges is
    'estimated: the curve falls by at least settings.phase_change of its greatest KL; NULL where published';
comment on column analysis.conditional_phases.reconverges is
    'estimated: it regains at least settings.phase_change of that fall by the last step; NULL where published';
comment on column analysis.conditional_phases.peak_step is
    'step where convergence ends its rise and divergence begins, NULL where there is none';
comment on column analysis.conditional_phases.trough_step is
    'step where divergence ends; NULL where the models do not diverge, or training ends before';
comment on column analysis.conditional_phases.n_steps is 'measured steps of the curve';
comment on column analysis.conditional_phases.n_checkpoints is 'steps measured in the phase, those the means are over';
comment on column analysis.conditional_phases.convergence_change is
    'conditional convergence at last_step minus that at first_step, in nats; above 0 where the models come to agree';
comment on column analysis.conditional_phases.slope_per_log2_step is
    'least-squares slope of convergence on log2(step + 1), both ends included, in nats per doubling; NULL for one step';
comment on column analysis.conditional_phases.mean_convergence is
    'mean of conditional convergence over the steps that count, in nats; never positive';
comment on column analysis.conditional_phases.reconverged_fraction is
    'last phase only: share of the fall from peak to trough regained by the last step; NULL where nothing fell';
comment on column analysis.conditional_phases.divergence_reduction is
    'last phase only: 1 - KL at the last step / KL at the trough; NULL without a trough';
comment on column analysis.conditional_phases.value_number is 'the value as a number';
comment on column analysis.conditional_phases.se_seed is
    'upper bound of the standard error of mean_convergence over seeds, in nats: the mean of that of its steps';
comment on column analysis.conditional_phases.se_document is
    'upper bound of its standard error over clusters of tokens, in nats: the mean of that of its steps';
comment on column analysis.conditional_phases.df_seed is 'degrees of freedom of se_seed, the least of its steps';
comment on column analysis.conditional_phases.df_document is
    'degrees of freedom of se_document, the least of its steps';
comment on column analysis.conditional_phases.fewest_seeds is
    'fewest seeds of a step of the phase; where it is not most_seeds, steps are means over different runs';
comment on column analysis.conditional_phases.most_seeds is 'most seeds of a step of the phase';
