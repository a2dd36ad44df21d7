-- A corpus without the one layer of all tokens that carries the totals of expected convergence.
select
    corpus.corpus_id,
    count(layer.layer_id) as total_layers
from warehouse.corpus as corpus
left join warehouse.annotation_layer as layer
    on corpus.corpus_id = layer.corpus_id and layer.is_total and layer.summarised and layer.model_id is null
group by corpus.corpus_id
having count(layer.layer_id) <> 1;
