-- What was fitted outside SQL and stored under a name: regressions, scaling laws, intervals of phases.
-- Grain: one row per fit.
-- Source: none; provenance.
create or replace view analysis.fits as
select
    fit.kind,
    fit.name,
    fit.family,
    corpus.name as corpus,
    protocol.name as protocol,
    fit.settings,
    fit.versions,
    fit.input_digest,
    fit.made_at,
    fit.fit_id
from warehouse.fit as fit
left join warehouse.corpus as corpus on fit.corpus_id = corpus.corpus_id
left join warehouse.protocol as protocol on fit.protocol_id = protocol.protocol_id;

comment on view analysis.fits is
    'What `warehouse fit` fitted and stored under a name, with all that is needed to fit it again.';
comment on column analysis.fits.kind is 'regression, scaling or phases';
comment on column analysis.fits.name is 'name of the fit, unique within kind, family, corpus and protocol';
comment on column analysis.fits.family is 'suite of models; NULL where fits of the kind have models of several';
comment on column analysis.fits.corpus is 'name of the corpus; NULL where none matters';
comment on column analysis.fits.protocol is 'name of the protocol; NULL where none matters';
comment on column analysis.fits.settings is 'what was asked for, as JSON: constants, thresholds, random seed';
comment on column analysis.fits.versions is 'versions of this package and of the libraries that fitted, as JSON';
comment on column analysis.fits.input_digest is
    'SHA-256 of the numbers that were fitted: another one says that the data have changed';
comment on column analysis.fits.made_at is 'when it was fitted';
comment on column analysis.fits.fit_id is 'key of warehouse.fit';
