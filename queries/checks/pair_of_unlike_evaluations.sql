-- A pair whose two evaluations differ in corpus or protocol, are one and the same, or are only planned.
select
    pair.pair_id,
    pair.evaluation_p,
    pair.evaluation_q
from warehouse.comparison_pair as pair
inner join warehouse.evaluation as p on pair.evaluation_p = p.evaluation_id
inner join warehouse.evaluation as q on pair.evaluation_q = q.evaluation_id
where
    p.evaluation_id = q.evaluation_id
    or p.corpus_id <> q.corpus_id
    or p.protocol_id <> q.protocol_id
    or p.status = 'planned'
    or q.status = 'planned';
