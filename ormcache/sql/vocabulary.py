"""Lists words of SQL: repeatable functions, and words that read the clock, random numbers or the session.

A function is repeatable if it returns equal results for equal arguments, over equal tables, in sessions with equal
settings. All words are in lower case. What is in no list is unknown, and unknown means uncached.
"""

from __future__ import annotations

from ormcache import reasons

#: The vendor of databases of all kinds that have no rules of their own here
UNKNOWN_VENDOR = "other"

#: Keywords that can stand before a parenthesis without being called
KEYWORDS_BEFORE_PARENTHESIS = frozenset(
    """
    add all and any array as between by case check column conflict constraint default delete desc asc distinct else end
    escape except exists filter for from full group having ilike in index inner insert intersect interval into is join
    key lateral left like limit materialized natural not nothing of offset on only or order outer over overlaps
    partition primary recursive references regexp returning right rlike rollup cube sets grouping rows range row
    select set similar some straight_join table then to union unique update using values value when where window with
    within without xor div mod binary collate
    """.split()
)

#: Vendor → its keywords that can stand before a parenthesis without being called. What is missing for SQLite is no
#: keyword there or may be a name: programs add functions to a connection, which no catalog lists.
KEYWORDS_BEFORE_PARENTHESIS_OF = {
    "postgresql": KEYWORDS_BEFORE_PARENTHESIS | {"columns", "nested", "passing"},
    "mysql": KEYWORDS_BEFORE_PARENTHESIS | {"columns", "nested", "against"},
    "sqlite": frozenset(
        """
        add all and as between by case check collate constraint default delete distinct else escape except exists
        filter from group having in index insert intersect into is join limit materialized not offset on or order over
        references returning select set table then union unique update using values when where with
        """.split()
    ),
}

#: Words that no database takes for a relation or a function unless they are quoted or qualified: a query that is
#: ordered reads no table "order".
RESERVED = frozenset(
    """
    select from where group order having limit and or not in is as on null case when then else union distinct
    """.split()
)

#: Types whose length stands in parentheses
TYPES = frozenset(
    """
    bigint binary bit blob bool boolean bytea char character citext date datetime dec decimal double fixed float hstore
    inet int integer json jsonb longblob longtext mediumblob mediumint mediumtext money nchar numeric nvarchar
    real serial signed smallint smallserial text time timestamp timestamptz timetz tinyint unsigned uuid varbinary
    varbit varchar varying year zone precision
    """.split()
)

_COMMON = """
    abs avg ceil ceiling coalesce concat concat_ws count exp floor greatest ifnull iif least length lower ltrim max min
    mod nullif power pow replace round rtrim sign sqrt substr substring sum trim upper cast extract position
    acos asin atan atan2 cos cot degrees ln log log10 log2 pi radians sin tan
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    md5 sha1 sha224 sha256 sha384 sha512 reverse repeat lpad rpad left right strpos hex unhex char chr ascii
"""

# age() is missing on purpose: with one argument it reads the clock. So does jsonb_path_query_tz() with its kin, which
# moves times of day by the time zone's offset of today.
_POSTGRESQL = """
    array_agg array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
    array_positions array_prepend array_remove array_replace array_to_json array_to_string array_upper bit_and bit_count
    bit_length bit_or bit_xor bool_and bool_or broadcast btrim cardinality cbrt char_length character_length
    convert_from convert_to corr covar_pop covar_samp date_bin date_part date_trunc decode div encode every factorial
    family format generate_series generate_subscripts get_bit get_byte grouping host hostmask initcap isempty isfinite
    json_agg json_array json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_exists json_extract_path json_extract_path_text json_object
    json_object_agg json_object_keys json_query json_strip_nulls json_to_record json_typeof json_value jsonb_agg
    jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
    jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any jsonb_extract_path jsonb_extract_path_text
    jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_match jsonb_path_query
    jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_typeof justify_days
    justify_hours justify_interval lower_inc lower_inf make_date make_interval make_time make_timestamp make_timestamptz
    masklen mode multirange netmask network num_nonnulls num_nulls numnode octet_length overlay percentile_cont
    percentile_disc plainto_tsquery phraseto_tsquery querytree quote_ident quote_literal quote_nullable range_agg
    range_intersect_agg range_merge regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace
    regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy row_to_json scale set_bit set_byte set_masklen setweight similarity split_part
    starts_with stddev stddev_pop stddev_samp string_agg string_to_array string_to_table strip to_ascii to_char to_date
    to_hex to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector translate trigram_similarity trim_array
    trim_scale trunc ts_delete ts_filter ts_headline ts_rank ts_rank_cd tsvector_to_array tsrange tstzrange
    daterange int4range int8range numrange tsmultirange tstzmultirange datemultirange int4multirange int8multirange
    nummultirange unaccent unnest upper_inc upper_inf var_pop var_samp variance websearch_to_tsquery width_bucket
    word_similarity strict_word_similarity akeys avals hstore_to_json hstore_to_jsonb skeys svals exist defined xmlagg
    xmlconcat xmlelement xmlforest xmltable xpath xpath_exists json_table json_to_recordset jsonb_to_record
    jsonb_to_recordset json_populate_record json_populate_recordset jsonb_populate_record jsonb_populate_recordset
    json_scalar json_serialize jsonb_set_lax normalize pg_typeof acosd asind
    atand cosd sind tand sinh cosh tanh asinh acosh atanh gcd lcm abbrev timezone point box circle lseg path polygon
    area center diameter radius isclosed isopen st_asgeojson
"""

_MYSQL = """
    adddate addtime any_value bin bit_and bit_count bit_length bit_or bit_xor char_length character_length conv
    convert convert_tz crc32 date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear elt
    export_set field find_in_set format from_base64 from_days from_unixtime get_format group_concat hour if
    inet6_aton inet6_ntoa inet_aton inet_ntoa insert instr interval is_ipv4 is_ipv6 isnull json_array
    json_array_append json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth
    json_detailed json_equals json_exists json_extract json_insert json_keys json_length json_loose json_merge
    json_merge_patch json_merge_preserve json_normalize json_object json_objectagg json_overlaps json_query
    json_quote json_remove json_replace json_search json_set json_table json_type json_unquote json_valid json_value
    last_day lcase locate makedate maketime microsecond mid minute month monthname nvl nvl2 oct octet_length ord
    period_add period_diff quarter quote regexp_instr regexp_like regexp_replace regexp_substr sec_to_time second
    sha sha2 soundex space std stddev stddev_pop stddev_samp str_to_date strcmp subdate substring_index subtime
    time_format time_to_sec timediff timestampadd timestampdiff to_base64 to_days to_seconds truncate ucase
    uncompress uncompressed_length var_pop var_samp variance week weekday weekofyear weight_string yearweek match
    against name_const values st_area st_astext st_asgeojson st_contains st_distance st_distance_sphere
    st_geomfromtext st_intersects st_within
"""

# django_*: the functions that Django registers with every SQLite connection. date(), datetime(), strftime() and their
# kin are missing on purpose: without an argument, or with 'now' in one, they read the clock.
_SQLITE = """
    any_value bit_and bit_or bit_xor bitxor bool_and bool_or concat format glob group_concat instr json json_array
    json_array_length json_each json_extract json_group_array json_group_object json_insert json_object json_patch
    json_quote json_remove json_replace json_set json_tree json_type json_valid jsonb jsonb_extract likelihood
    likely like median nullif octet_length printf quote soundex space std stddev stddev_pop stddev_samp string_agg
    total trunc typeof unicode unlikely var_pop var_samp regexp sinh cosh tanh asinh acosh atanh django_date_extract
    django_date_trunc django_datetime_cast_date django_datetime_cast_time django_datetime_extract
    django_datetime_trunc django_format_dtdelta django_power django_time_diff django_time_extract django_time_trunc
    django_timestamp_diff
"""

REPEATABLE = {
    "postgresql": frozenset((_COMMON + _POSTGRESQL).split()) | TYPES,
    "mysql": frozenset((_COMMON + _MYSQL).split()) | (TYPES - {"uuid"}),
    "sqlite": frozenset((_COMMON + _SQLITE).split()) | (TYPES - {"date", "time", "datetime", "timestamp"}),
    UNKNOWN_VENDOR: frozenset(_COMMON.split()),
}

_CLOCK = """
    now clock_timestamp statement_timestamp transaction_timestamp timeofday curdate curtime sysdate unix_timestamp
    utc_date utc_time utc_timestamp date time datetime timestamp julianday strftime unixepoch timediff current_date
    current_time current_timestamp localtime localtimestamp
    jsonb_path_exists_tz jsonb_path_match_tz jsonb_path_query_tz jsonb_path_query_array_tz jsonb_path_query_first_tz
"""
_RANDOM = """
    rand random randomblob gen_random_uuid gen_random_bytes uuid uuid_short uuid4 uuid7 uuid_v4 uuid_v7 uuidv4 uuidv7
    uuid_generate_v1 uuid_generate_v4 random_bytes random_normal setseed sys_guid
"""
_SEQUENCE = """
    nextval currval lastval setval last_insert_id last_insert_rowid changes total_changes row_count found_rows
    txid_current pg_current_xact_id pg_current_wal_lsn lastval
"""
_SESSION = """
    current_user session_user user system_user current_role current_catalog current_schema current_schemas
    current_database current_setting set_config database schema connection_id pg_backend_pid inet_client_addr
    inet_client_port inet_server_addr version sqlite_version pg_sleep pg_sleep_for pg_sleep_until sleep benchmark
    get_lock release_lock release_all_locks is_free_lock is_used_lock pg_advisory_lock pg_advisory_xact_lock
    pg_try_advisory_lock pg_try_advisory_xact_lock pg_advisory_unlock pg_advisory_unlock_all pg_advisory_lock_shared
    pg_notify load_file
"""

#: A function's name → the reason why its answer cannot be kept; what is in neither table is reasons.FUNCTION
UNREPEATABLE = {
    name: reason
    for names, reason in (
        (_CLOCK, reasons.CLOCK),
        (_RANDOM, reasons.RANDOM),
        (_SEQUENCE, reasons.SEQUENCE),
        (_SESSION, reasons.SESSION_FUNCTION),
    )
    for name in names.split()
}

_BARE_CLOCK = "current_date current_time current_timestamp"
_BARE = {
    "postgresql": {
        reasons.CLOCK: f"{_BARE_CLOCK} localtime localtimestamp",
        reasons.SESSION_FUNCTION: """
            current_user session_user system_user user current_role current_catalog current_schema
        """,
        reasons.RANDOM: "tablesample",
    },
    "mysql": {
        reasons.CLOCK: f"{_BARE_CLOCK} localtime localtimestamp sysdate utc_date utc_time utc_timestamp",
        reasons.SESSION_FUNCTION: "current_user current_role",
    },
    "sqlite": {reasons.CLOCK: _BARE_CLOCK},
}
#: Words that call without parentheses
BARE_CALLS = {
    vendor: {word: reason for reason, words in table.items() for word in words.split()}
    for vendor, table in _BARE.items()
}

#: Words that change rows wherever they stand as keywords
WRITING_WORDS = frozenset({"insert", "update", "delete", "merge"})
#: These, and one that is a function as well
MAY_WRITE = WRITING_WORDS | {"replace"}

#: Functions that run SQL they are given as text, PostgreSQL's, those of its own extensions and of SQLite's, by name;
#: those that are written in C also by the name that they have there
RUN_SQL = frozenset(
    """
    query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema
    table_to_xml table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema
    schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema database_to_xml_and_xmlschema
    dblink dblink_exec ts_stat ts_rewrite crosstab crosstab2 crosstab3 crosstab4 crosstab_hash connectby
    connectby_text connectby_text_serial ts_stat1 ts_stat2 tsquery_rewrite_query
    lo_import lo_put lo_from_bytea lo_unlink lowrite load_extension eval
    """.split()
)
#: Words by which stored code runs SQL that it has put together
RUN_TEXT = frozenset({"execute", "prepare"})

#: Tables that SQLite keeps for itself and that programs may write to. Its sqlite_dbpage is none: that is the whole file
OWN_OF_SQLITE = frozenset({"sqlite_sequence", *(f"sqlite_stat{n}" for n in range(1, 5))})

#: Operators that nearly every text has; a statement does not list them
COMMON_OPERATORS = frozenset("= < > <= >= <> != + - * / % %% ||".split())

#: Functions in C of PostgreSQL's own extensions that change no rows of other tables, whatever they are marked as
HARMLESS_C_FUNCTIONS = frozenset(
    """
    armor autoinc crypt dearmor decrypt digest encrypt gen_salt hmac insert_username moddatetime normal_rand
    pgp_pub_decrypt pgp_pub_encrypt pgp_sym_decrypt pgp_sym_encrypt uuid_generate_v1mc
    show_limit gettransactionid postgis_cache_bbox st_clusterkmeans st_generatepoints
    """.split()
)

#: Functions in C that PostGIS does not mark as immutable, which they are: the parts of its aggregates
IMMUTABLE_C_FUNCTIONS = frozenset(
    """
    pgis_geometry_accum_transfn pgis_geometry_collect_finalfn pgis_geometry_clusterintersecting_finalfn
    pgis_geometry_clusterwithin_finalfn pgis_geometry_makeline_finalfn pgis_geometry_polygonize_finalfn
    """.split()
)
