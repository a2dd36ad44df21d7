-- The annotation layers of every corpus. The layer of all tokens, which carries totals, is left out.
-- Grain: one row per (corpus, layer, model).
create or replace view analysis.annotation_layers as
select
    corpus.name as corpus,
    layer.name as layer,
    model.name as model,
    layer.kind,
    category.n_values,
    category.n_tokens,
    layer.summarised,
    layer.source,
    layer.description,
    layer.created_at,
    layer.layer_id,
    category.n_tokens / nullif(corpus.n_tokens, 0)::double precision as coverage
from warehouse.annotation_layer as layer
inner join warehouse.corpus as corpus on layer.corpus_id = corpus.corpus_id
left join warehouse.model as model on layer.model_id = model.model_id
cross join lateral (
    select
        count(*) as n_values,
        coalesce(sum(value.n_tokens), 0)::bigint as n_tokens
    from warehouse.annotation_category as value
    where value.layer_id = layer.layer_id
) as category
where not layer.is_total;

comment on view analysis.annotation_layers is 'Annotation layers: what is known about the tokens of each corpus.';
comment on column analysis.annotation_layers.corpus is 'name of the corpus';
comment on column analysis.annotation_layers.layer is 'name of the layer';
comment on column analysis.annotation_layers.model is 'model the layer belongs to; NULL for every model';
comment on column analysis.annotation_layers.kind is 'categorical or numeric';
comment on column analysis.annotation_layers.n_values is 'values of the layer';
comment on column analysis.annotation_layers.n_tokens is 'tokens that have a value';
comment on column analysis.annotation_layers.summarised is
    'conditional views show the layer; not those of over 1,000 values';
comment on column analysis.annotation_layers.source is 'where the values came from';
comment on column analysis.annotation_layers.description is 'what the values mean';
comment on column analysis.annotation_layers.created_at is 'when the layer was loaded';
comment on column analysis.annotation_layers.layer_id is 'key of warehouse.annotation_layer';
comment on column analysis.annotation_layers.coverage is 'share of the corpus'' tokens that have a value';
