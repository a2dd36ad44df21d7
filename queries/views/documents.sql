-- The documents of every corpus.
-- Grain: one row per (corpus, document).
create or replace view analysis.documents as
select
    corpus.name as corpus,
    document.document,
    document.name,
    document.first_token_id,
    document.n_tokens,
    document.char_start,
    document.char_end,
    document.byte_start,
    document.byte_end
from warehouse.document as document
inner join warehouse.corpus as corpus on document.corpus_id = corpus.corpus_id;

comment on view analysis.documents is 'Documents of each corpus, and where they lie in its text.';
comment on column analysis.documents.corpus is 'name of the corpus';
comment on column analysis.documents.document is 'number of the document within its corpus, from 0';
comment on column analysis.documents.name is 'name of the document';
comment on column analysis.documents.first_token_id is 'token_id of its first token';
comment on column analysis.documents.n_tokens is 'tokens, its end-of-text token included';
comment on column analysis.documents.char_start is 'offset of its first character in the text of the corpus';
comment on column analysis.documents.char_end is 'offset after its last character';
comment on column analysis.documents.byte_start is 'offset of its first byte in the text of the corpus';
comment on column analysis.documents.byte_end is 'offset after its last byte';
