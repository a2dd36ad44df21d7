-- Layers of one name, of which one is of a single model and one of every model: views would show this model both.
select
    own.layer_id,
    own.corpus_id,
    own.name,
    own.model_id
from warehouse.annotation_layer as own
inner join warehouse.annotation_layer as shared on own.corpus_id = shared.corpus_id and own.name = shared.name
where own.model_id is not null and shared.model_id is null;
