-- How evaluations fare on the items of each paradigm of their corpus, from the sums over documents.
create temporary table refresh_document as
select
    chunk.evaluation_id,
    chunk.document_chunk * 256 + item.ordinality - 1 as document,
    item.surprisal,
    item.eos_surprisal
from refresh_unit as unit
inner join warehouse.document_score_chunk as chunk on unit.id = chunk.evaluation_id
cross join lateral unnest(chunk.surprisal::double precision [], chunk.eos_surprisal::double precision [])
    with ordinality as item (surprisal, eos_surprisal, ordinality);

analyze refresh_document;

create temporary table refreshed as
select
    unit.id as evaluation_id,
    paradigm.paradigm_id,
    count(item.item)::integer as n_items,
    count(*) filter (where item.margin > 0)::integer as n_correct,
    -- Where one item has no EOS there is no count.
    case when chunk.eos_surprisal is not null and count(item.item) = count(item.margin_with_eos)
        then count(*) filter (where item.margin_with_eos > 0)::integer
    end as n_correct_with_eos,
    coalesce(sum(item.margin order by item.item), 0) as sum_margin,
    coalesce(sum(item.margin * item.margin order by item.item), 0) as sum_margin2
from refresh_unit as unit
inner join warehouse.evaluation as evaluation on unit.id = evaluation.evaluation_id
inner join warehouse.document_score_chunk as chunk
    on evaluation.evaluation_id = chunk.evaluation_id and chunk.document_chunk = 0
inner join warehouse.paradigm as paradigm on evaluation.corpus_id = paradigm.corpus_id and paradigm.kind <> 'spans'
left join (
    select
        score.evaluation_id,
        role.paradigm_id,
        role.item,
        max(-score.surprisal) filter (where role.role in ('good', 'correct'))
        - max(-score.surprisal) filter (where role.role not in ('good', 'correct')) as margin,
        case when count(*) = count(score.eos_surprisal)
            then
                max(-score.surprisal - score.eos_surprisal) filter (where role.role in ('good', 'correct'))
                - max(-score.surprisal - score.eos_surprisal) filter (where role.role not in ('good', 'correct'))
        end as margin_with_eos
    from warehouse.evaluation as evaluation
    inner join warehouse.paradigm as paradigm
        on evaluation.corpus_id = paradigm.corpus_id and paradigm.kind <> 'spans'
    inner join warehouse.item as role on paradigm.paradigm_id = role.paradigm_id
    inner join refresh_document as score
        on evaluation.evaluation_id = score.evaluation_id and role.document = score.document
    group by score.evaluation_id, role.paradigm_id, role.item
    having
        count(*) = count(score.surprisal)
        and count(*) >= 2
        and bool_or(role.role in ('good', 'correct'))
) as item on unit.id = item.evaluation_id and paradigm.paradigm_id = item.paradigm_id
where evaluation.status = 'complete'
group by unit.id, paradigm.paradigm_id, chunk.eos_surprisal is not null;

drop table refresh_document;
