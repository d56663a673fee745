"""How much has to be known before a judgement is passed.

Whoever follows wrong advice makes the site slower. So a judgement needs enough statistics, or says that there are too
few.
"""

#: Lookups before a hit rate is judged: from fewer it may be ten per cent off by chance
ENOUGH_LOOKUPS = 100
#: Misses without a single hit before a query is said never to hit: that many different pages can be requested once
#: while a cache fills
ENOUGH_MISSES = 200
#: Writes before a table is called write-heavy: a deployment or an import makes some dozens at once
ENOUGH_WRITES = 50
#: Bypasses or rejections before a query is worth a change of code: fewer are an administrator's or a test's
ENOUGH_READS = 30
#: Seconds of database time before anything is worth a person's time
ENOUGH_SECONDS = 0.5
#: Share of a query's reads that must have ended in one way before that way is called typical of the query
MOSTLY = 0.5
#: From so many writes for each lookup on, what the writes send to the store serves next to no read
WRITES_PER_LOOKUP = 10
#: Reads for each write from which on a table may come off the blacklist: each write invalidates the results of all of
#: them
READS_PER_WRITE = 10
#: The same where most reads are by key: a write then invalidates the results of its own row, whose next read misses
READS_BY_KEY_PER_WRITE = 2
#: Share of all reads that a bypass reason of the connection must have before the settings are worth a look
NOTABLE_BYPASSES = 0.2
#: Share of all misses that invalidations of everything must have caused
NOTABLE_MISSES = 0.2
#: Share of all misses that may be due to lost stamps before the store is called too small
NOTABLE_LOSSES = 0.1
