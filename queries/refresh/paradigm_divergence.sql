-- KL between the seeds of a model on the items of each paradigm, from the sums over documents: both directions of every
-- pair of complete evaluations at one step. Log-probabilities are taken from the best role on, which is exact.
create temporary table refresh_pair as
select
    evaluation_p.evaluation_id as evaluation_p,
    evaluation_q.evaluation_id as evaluation_q,
    evaluation_p.corpus_id
from refresh_unit as unit
inner join warehouse.evaluation as evaluation_p on unit.id = evaluation_p.evaluation_id
inner join warehouse.checkpoint as checkpoint_p on evaluation_p.checkpoint_id = checkpoint_p.checkpoint_id
inner join warehouse.run as run_p on checkpoint_p.run_id = run_p.run_id
inner join warehouse.run as run_q on run_p.model_id = run_q.model_id and run_p.run_id <> run_q.run_id
inner join warehouse.checkpoint as checkpoint_q
    on run_q.run_id = checkpoint_q.run_id and checkpoint_p.step = checkpoint_q.step
inner join warehouse.evaluation as evaluation_q
    on
        checkpoint_q.checkpoint_id = evaluation_q.checkpoint_id
        and evaluation_p.corpus_id = evaluation_q.corpus_id
        and evaluation_p.protocol_id = evaluation_q.protocol_id
where evaluation_p.status = 'complete' and evaluation_q.status = 'complete';

create temporary table refresh_document as
select
    chunk.evaluation_id,
    evaluation.corpus_id,
    chunk.document_chunk * 256 + item.ordinality - 1 as document,
    item.surprisal,
    item.eos_surprisal
from (
    select evaluation_p as evaluation_id from refresh_pair
    union
    select evaluation_q from refresh_pair
) as side
inner join warehouse.document_score_chunk as chunk on side.evaluation_id = chunk.evaluation_id
inner join warehouse.evaluation as evaluation on side.evaluation_id = evaluation.evaluation_id
cross join lateral unnest(chunk.surprisal::double precision [], chunk.eos_surprisal::double precision [])
    with ordinality as item (surprisal, eos_surprisal, ordinality)
where exists (
    select from warehouse.paradigm as paradigm
    where evaluation.corpus_id = paradigm.corpus_id and paradigm.kind <> 'spans'
);

analyze refresh_document;

-- log p and p of every role of every item that was scored
create temporary table refresh_role as
select
    answer.evaluation_id,
    answer.paradigm_id,
    answer.item,
    answer.role,
    answer.log_p,
    answer.log_p_with_eos,
    -- exp() of a number below -745 is an error
    exp(greatest(answer.log_p, -700)) as p,
    exp(greatest(answer.log_p_with_eos, -700)) as p_with_eos
from (
    select
        shifted.evaluation_id,
        shifted.paradigm_id,
        shifted.item,
        shifted.role,
        shifted.plain - ln(sum(exp(greatest(shifted.plain, -700))) over item) as log_p,
        shifted.with_eos - ln(sum(exp(greatest(shifted.with_eos, -700))) over item) as log_p_with_eos
    from (
        select
            scored.*,
            scored.score - max(scored.score) over item as plain,
            case when count(*) over item = count(scored.score_with_eos) over item
                then scored.score_with_eos - max(scored.score_with_eos) over item
            end as with_eos,
            count(*) over item as n_roles,
            count(scored.score) over item as n_scored,
            bool_or(scored.role in ('good', 'correct')) over item as has_wanted
        from (
            select
                score.evaluation_id,
                role.paradigm_id,
                role.item,
                role.role,
                -score.surprisal as score,
                -score.surprisal - score.eos_surprisal as score_with_eos
            from refresh_document as score
            inner join warehouse.item as role on score.corpus_id = role.corpus_id and score.document = role.document
            inner join warehouse.paradigm as paradigm on role.paradigm_id = paradigm.paradigm_id
            where paradigm.kind <> 'spans'
        ) as scored
        window item as (partition by scored.evaluation_id, scored.paradigm_id, scored.item)
    ) as shifted
    where shifted.n_roles >= 2 and shifted.n_roles = shifted.n_scored and shifted.has_wanted
    window item as (partition by shifted.evaluation_id, shifted.paradigm_id, shifted.item)
) as answer;

analyze refresh_role;

create temporary table refreshed as
select
    pair.evaluation_p,
    pair.evaluation_q,
    paradigm.paradigm_id,
    count(item.item)::integer as n_items,
    coalesce(sum(item.kl order by item.item), 0) as sum_kl,
    case when chunk_p.eos_surprisal is not null and chunk_q.eos_surprisal is not null
        and count(item.item) = count(item.kl_with_eos)
            then coalesce(sum(item.kl_with_eos order by item.item), 0)
    end as sum_kl_with_eos
from refresh_pair as pair
inner join warehouse.paradigm as paradigm on pair.corpus_id = paradigm.corpus_id and paradigm.kind <> 'spans'
inner join warehouse.document_score_chunk as chunk_p
    on pair.evaluation_p = chunk_p.evaluation_id and chunk_p.document_chunk = 0
inner join warehouse.document_score_chunk as chunk_q
    on pair.evaluation_q = chunk_q.evaluation_id and chunk_q.document_chunk = 0
left join (
    select
        p.evaluation_id as evaluation_p,
        q.evaluation_id as evaluation_q,
        p.paradigm_id,
        p.item,
        sum(pg_temp.kl_term(p.p, q.p, p.log_p - q.log_p)) as kl,
        case when count(*) = count(p.log_p_with_eos + q.log_p_with_eos)
            then sum(pg_temp.kl_term(p.p_with_eos, q.p_with_eos, p.log_p_with_eos - q.log_p_with_eos))
        end as kl_with_eos
    from refresh_pair as wanted
    inner join refresh_role as p on wanted.evaluation_p = p.evaluation_id
    inner join refresh_role as q
        on
            wanted.evaluation_q = q.evaluation_id
            and p.paradigm_id = q.paradigm_id
            and p.item = q.item
            and p.role = q.role
    group by p.evaluation_id, q.evaluation_id, p.paradigm_id, p.item
) as item
    on
        pair.evaluation_p = item.evaluation_p
        and pair.evaluation_q = item.evaluation_q
        and paradigm.paradigm_id = item.paradigm_id
group by
    pair.evaluation_p,
    pair.evaluation_q,
    paradigm.paradigm_id,
    chunk_p.eos_surprisal is not null,
    chunk_q.eos_surprisal is not null;

drop table refresh_pair, refresh_document, refresh_role;
