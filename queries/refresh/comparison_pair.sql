-- How far the two sides of a pair agree, from their scores at the tokens that both have: Pearson and Spearman
-- correlation of surprisals (ties at their mean rank), share of equal most probable entries. NULL where one side was
-- not scored, which is so for KL that was imported alone.
create temporary table refreshed as
with chosen as (
    select
        pair.pair_id,
        -- The same in both directions, so that one of them is enough.
        least(pair.evaluation_p, pair.evaluation_q) as one,
        greatest(pair.evaluation_p, pair.evaluation_q) as other
    from refresh_unit as unit
    inner join warehouse.comparison_pair as pair on unit.id = pair.pair_id
),

token as (
    select
        side.one,
        side.other,
        item.x::double precision as x,
        item.y::double precision as y,
        item.top_x = item.top_y as is_same
    from (
        select distinct
            chosen.one,
            chosen.other
        from chosen
    ) as side
    inner join warehouse.score_chunk as chunk_x on side.one = chunk_x.evaluation_id
    inner join warehouse.score_chunk as chunk_y
        on side.other = chunk_y.evaluation_id and chunk_x.chunk_id = chunk_y.chunk_id
    cross join lateral unnest(chunk_x.surprisal, chunk_y.surprisal, chunk_x.top_vocab_id, chunk_y.top_vocab_id)
        as item (x, y, top_x, top_y)
    where item.x is not null and item.y is not null
),

ranked as (
    select
        token.*,
        rank() over (same_pair order by token.x)
        + (count(*) over (partition by token.one, token.other, token.x) - 1) / 2.0 as rank_x,
        rank() over (same_pair order by token.y)
        + (count(*) over (partition by token.one, token.other, token.y) - 1) / 2.0 as rank_y
    from token
    window same_pair as (partition by token.one, token.other)
),

agreement as (
    select
        one,
        other,
        corr(x, y) as pearson,
        corr(rank_x::double precision, rank_y::double precision) as spearman,
        case when count(is_same) = count(*) then count(*) filter (where is_same) / count(*)::double precision end
            as top1_agreement
    from ranked
    group by one, other
)

select
    chosen.pair_id,
    agreement.pearson,
    agreement.spearman,
    agreement.top1_agreement
from chosen
left join agreement on chosen.one = agreement.one and chosen.other = agreement.other;
