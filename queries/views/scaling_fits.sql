-- Scaling laws of the loss, as `warehouse fit scaling` fitted and stored them.
-- Grain: one row per fit of kind scaling.
-- Source: Godey et al. 2024, A and alpha fitted and the rest from Hoffmann et al. 2022; all five free is an extension.
create or replace view analysis.scaling_fits as
select
    fit.name,
    fit.family,
    corpus.name as corpus,
    protocol.name as protocol,
    fit.settings ->> 'metric' as metric,
    fit.settings ->> 'source' as source,
    law.a,
    law.alpha,
    law.b,
    law.beta,
    law.e,
    law.se_log_a,
    law.se_alpha,
    law.rms_residual,
    law.n_models,
    law.n,
    (fit.settings ->> 'free')::boolean as free,
    fit.settings ->> 'parameters' as parameters,
    (fit.settings ->> 'min_parameters')::bigint as least_parameters,
    (fit.settings ->> 'from_step')::integer as from_step,
    fit.made_at,
    fit.fit_id
from warehouse.scaling_fit as law
inner join warehouse.fit as fit on law.fit_id = fit.fit_id
left join warehouse.corpus as corpus on fit.corpus_id = corpus.corpus_id
left join warehouse.protocol as protocol on fit.protocol_id = protocol.protocol_id;

comment on view analysis.scaling_fits is 'Scaling laws L = A / N^alpha + B / T^beta + E that were fitted to losses.';
comment on column analysis.scaling_fits.name is 'name of the fit';
comment on column analysis.scaling_fits.family is 'suite of the models, such as pythia';
comment on column analysis.scaling_fits.corpus is 'name of the corpus; NULL for imported losses';
comment on column analysis.scaling_fits.protocol is 'name of the protocol; NULL for imported losses';
comment on column analysis.scaling_fits.metric is 'surprisal, or what the imported loss is called';
comment on column analysis.scaling_fits.source is 'where an imported loss came from; NULL for what was measured here';
comment on column analysis.scaling_fits.a is 'A, in nats';
comment on column analysis.scaling_fits.alpha is 'exponent of the number of parameters N';
comment on column analysis.scaling_fits.b is 'B, in nats';
comment on column analysis.scaling_fits.beta is 'exponent of the number of training tokens T';
comment on column analysis.scaling_fits.e is 'E, the loss that neither size nor training removes, in nats';
comment on column analysis.scaling_fits.se_log_a is
    'standard error of log A, from how the means of the sizes scatter; NULL below three sizes, and where free';
comment on column analysis.scaling_fits.se_alpha is
    'standard error of alpha, likewise, with as many degrees of freedom as there are sizes less two';
comment on column analysis.scaling_fits.rms_residual is
    'root mean square of log L - log L-hat over the fitted checkpoints';
comment on column analysis.scaling_fits.n_models is 'models that were fitted';
comment on column analysis.scaling_fits.n is 'checkpoints that were fitted';
comment on column analysis.scaling_fits.free is 'B, beta and E were fitted too, and not given';
comment on column analysis.scaling_fits.parameters is 'what N counts: total, or without_embeddings';
comment on column analysis.scaling_fits.least_parameters is
    'models with fewer parameters, embeddings included, were left out';
comment on column analysis.scaling_fits.from_step is 'checkpoints before this step were left out';
comment on column analysis.scaling_fits.made_at is 'when it was fitted';
comment on column analysis.scaling_fits.fit_id is 'key of warehouse.fit';
