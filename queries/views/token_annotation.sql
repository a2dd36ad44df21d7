-- What is known about each token: a value, a number, or both. Layers are rows; any join on token_id may use them.
-- Grain: one row per (corpus, layer, model, token_id) that has a value or a number.
create or replace view analysis.token_annotation as
select
    corpus.name as corpus,
    layer.name as layer,
    model.name as model,
    chunk.chunk_id * 256 + item.ordinality - 1 as token_id,
    category.value,
    coalesce(item.number::double precision, category.value_number) as value_number,
    chunk.chunk_id,
    category.lower,
    category.upper,
    item.category_id,
    layer.layer_id
from warehouse.annotation_layer as layer
inner join warehouse.corpus as corpus on layer.corpus_id = corpus.corpus_id
inner join warehouse.annotation_chunk as chunk on layer.layer_id = chunk.layer_id
cross join lateral unnest(chunk.category_ids, chunk.numbers) with ordinality as item (category_id, number, ordinality)
left join warehouse.model as model on layer.model_id = model.model_id
left join warehouse.annotation_category as category
    on layer.layer_id = category.layer_id and item.category_id = category.category_id
where not layer.is_total and (item.category_id is not null or item.number is not null);

comment on view analysis.token_annotation is
    'Annotations of every token; join on token_id, and on model where the layer belongs to one.';
comment on column analysis.token_annotation.corpus is 'name of the corpus';
comment on column analysis.token_annotation.layer is 'name of the layer';
comment on column analysis.token_annotation.model is
    'model the layer belongs to; NULL for every model: join on model is null or model = t.model';
comment on column analysis.token_annotation.token_id is 'token that is annotated';
comment on column analysis.token_annotation.value is 'value of the layer; the bin of a numeric layer';
comment on column analysis.token_annotation.value_number is 'the value as a number, where it is one';
comment on column analysis.token_annotation.chunk_id is
    'token_id / 256; a condition on it is fast where one on token_id alone reads everything';
comment on column analysis.token_annotation.lower is 'lower bound of a numeric bin, included';
comment on column analysis.token_annotation.upper is 'upper bound of a numeric bin, excluded';
comment on column analysis.token_annotation.category_id is 'number of the value within its layer';
comment on column analysis.token_annotation.layer_id is 'key of warehouse.annotation_layer';
