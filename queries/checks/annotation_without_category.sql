-- A token whose category is none of its layer, or a category that counts more or fewer tokens than it has.
select
    coalesce(found.layer_id, category.layer_id) as layer_id,
    coalesce(found.category_id, category.category_id) as category_id,
    found.n_tokens as found_tokens,
    category.n_tokens
from (
    select
        chunk.layer_id,
        item.category_id,
        count(*) as n_tokens
    from warehouse.annotation_chunk as chunk
    cross join lateral unnest(chunk.category_ids) as item (category_id)
    where item.category_id is not null
    group by chunk.layer_id, item.category_id
) as found
full join warehouse.annotation_category as category
    on found.layer_id = category.layer_id and found.category_id = category.category_id
where category.n_tokens is null or category.n_tokens <> coalesce(found.n_tokens, 0);
