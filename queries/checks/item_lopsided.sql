-- An item of minimal pairs without one good and one bad side, or of options without a correct one and others; or one
-- whose document is of another corpus. Results by paradigm leave it out.
select
    paradigm.paradigm_id,
    item.item,
    array_agg(item.role order by item.role) as roles
from warehouse.item as item
inner join warehouse.paradigm as paradigm on item.paradigm_id = paradigm.paradigm_id
group by paradigm.paradigm_id, item.item
having
    bool_or(item.corpus_id <> paradigm.corpus_id)
    or paradigm.kind = 'minimal_pairs' and array_agg(item.role order by item.role) <> '{bad,good}'
    or paradigm.kind = 'options' and not (count(*) >= 2 and bool_or(item.role = 'correct'));
