-- How things were measured: what changes a quantity by design. Results of different protocols are not to be mixed.
-- Grain: one row per protocol.
create or replace view analysis.protocols as
select
    protocol.name as protocol,
    protocol.windows,
    protocol."window",
    protocol.bos,
    protocol.vocabulary,
    protocol.dtype,
    protocol.tf32,
    protocol.origin,
    protocol.protocol_id
from warehouse.protocol as protocol;

comment on view analysis.protocols is 'Protocols: how scores and KL were measured, here or elsewhere.';
comment on column analysis.protocols.protocol is 'name of the protocol; one that begins with imported- is not ours';
comment on column analysis.protocols.windows is
    'concatenated: the corpus is one sequence; documents: each document is; truncated: a token from its last ids; '
    'imported: measured elsewhere';
comment on column analysis.protocols.window is 'longest window, in tokens; NULL if not known';
comment on column analysis.protocols.bos is 'sequences begin with BOS; NULL if not known';
comment on column analysis.protocols.vocabulary is
    'tokenizer: ids of the tokenizer, renormalised; model: the full width';
comment on column analysis.protocols.dtype is 'number format of weights and activations';
comment on column analysis.protocols.tf32 is 'TensorFloat-32 multiplication allowed; NULL if not known';
comment on column analysis.protocols.origin is 'who measured under it, and how; NULL for this program';
comment on column analysis.protocols.protocol_id is 'key of warehouse.protocol';
