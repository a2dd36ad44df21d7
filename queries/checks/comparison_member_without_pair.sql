-- A member of a comparison whose pair or comparison does not exist.
select
    member.comparison_id,
    member.pair_id
from warehouse.comparison_member as member
left join warehouse.comparison_pair as pair on member.pair_id = pair.pair_id
left join warehouse.comparison as comparison on member.comparison_id = comparison.comparison_id
where pair.pair_id is null or comparison.comparison_id is null;
