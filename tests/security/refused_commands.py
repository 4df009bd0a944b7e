"""Commands of the server that somebody's login must not have: a database and a command, as redis-cli takes it, in each
line. `~` stands for kombu's separator between a queue and a priority."""

import shlex
from collections.abc import Sequence

VICTIM = "victim"
"""The id of a command whose sender is somebody else."""

READ_A_QUEUE = """
0 LRANGE orders.close 0 -1
0 LRANGE orders.withdraw 0 -1
0 LRANGE orders.withdraw~9 0 -1
0 LRANGE orders.withdraw.dead 0 -1
0 LRANGE notifications 0 -1
0 LINDEX orders.close 0
0 LPOS orders.close x
0 RPOP orders.close
0 LPOP orders.close
0 BLPOP orders.close 0
0 BRPOP orders.close 0
0 LMPOP 1 orders.close LEFT
0 RPOPLPUSH orders.close orders.close
0 LMOVE orders.close orders.close LEFT RIGHT
0 BLMOVE orders.close orders.close LEFT RIGHT 0
0 SORT orders.close
0 SORT_RO orders.close
0 SORT orders.withdraw BY nosort STORE orders.close
0 DUMP orders.close
0 COPY orders.close mine
0 MIGRATE 127.0.0.1 1 orders.close 0 1
0 OBJECT ENCODING orders.close
"""
LOOK_ROUND = """
0 SCAN 0
1 SCAN 0
2 SCAN 0
3 SCAN 0
0 KEYS *
0 RANDOMKEY
0 DBSIZE
0 HGETALL unacked
0 MONITOR
0 PSUBSCRIBE *
0 SUBSCRIBE /0.celery.pidbox
0 PUBSUB CHANNELS
0 SLOWLOG GET
0 CLIENT LIST
0 ACL LIST
0 CONFIG GET *
0 INFO
0 MEMORY USAGE orders.withdraw
2 HGETALL orders:intent_messages
2 HGET orders:intent_messages victim
2 HSCAN orders:intent_messages 0
2 HRANDFIELD orders:intent_messages
2 XRANGE orders:journal - +
2 HGETALL orders:command:victim
2 HGETALL orders:halts
2 ZRANGE orders:unknown 0 -1
"""
SPOIL_A_QUEUE = """
0 LPUSH orders.withdraw.dead x
0 LPUSH orders.close.dead x
0 LPUSH orders.reconcile x
0 LPUSH celery x
0 LPUSH notifications x
0 RPUSH orders.close x
0 LPUSHX orders.close x
0 LSET orders.close 0 x
0 LINSERT orders.close BEFORE x y
0 LTRIM orders.close 1 0
0 LREM orders.close 0 x
0 DEL orders.close
0 UNLINK orders.close
0 GETDEL orders.close
0 EXPIRE orders.close 0
0 PERSIST orders.close
0 RENAME orders.withdraw orders.close
0 MOVE orders.close 3
0 RESTORE orders.close 0 x
0 SET orders.close x
0 APPEND orders.cancel x
0 SADD orders.cancel x
0 HSETNX orders.cancel x x
0 ZADD orders.cancel 1 x
0 XADD orders.cancel * x x
0 PFADD orders.cancel x
0 SETBIT orders.cancel 4000000000 1
0 BITOP NOT orders.cancel orders.close
0 SUNIONSTORE orders.cancel orders.x
0 GEOADD orders.cancel 1 1 x
0 HSET unacked tag y
0 HDEL unacked tag
0 ZADD unacked_index 9e15 tag
0 SET unacked_mutex x
"""
REDIRECT_REPLIES = """
0 SADD _kombu.binding.celery.pidbox x
0 SADD _kombu.binding.celeryev x
0 SADD _kombu.binding.reply.celery.pidbox ~~orders.withdraw
"""
FORGE_AN_END = """
1 SET celery-task-meta-victim forged
1 GETSET celery-task-meta-victim forged
1 MSET celery-task-meta-victim forged
1 APPEND celery-task-meta-victim x
1 SETRANGE celery-task-meta-victim 0 x
1 DEL celery-task-meta-victim
1 EXPIRE celery-task-meta-victim 0
1 RENAME celery-task-meta-victim x
1 SET celery-taskset-meta-group forged
1 ZADD celery-taskset-meta-group.j 2 forged
1 DEL celery-taskset-meta-group.j
1 PUBLISH celery-task-meta-victim forged
1 SPUBLISH celery-task-meta-victim forged
"""
FORGE_A_BROADCAST = """
0 PUBLISH /0.celery.pidbox forged
0 PUBLISH /0.celeryev/worker.heartbeat forged
"""
CHANGE_THE_LEDGER = """
2 HSET orders:command:victim state ACCEPTED
2 HSETNX orders:command:victim x 1
2 HSETNX orders:command:new state ACCEPTED
2 DEL orders:command:victim
2 PEXPIRE orders:command:victim 1
2 COPY orders:command:victim orders:x
2 XADD orders:journal * event resolve
2 XDEL orders:journal 0-1
2 XTRIM orders:journal MAXLEN 0
2 HSETNX orders:halts */* x
2 HDEL orders:halts */*
2 DEL orders:halts
2 ZADD orders:unknown 1 new
2 ZREM orders:unknown victim
2 HSETNX orders:looks victim 1
2 SET orders:sweeping 1
2 HSET orders:intent_messages victim x
2 HDEL orders:intent_messages victim
2 HINCRBY orders:intent_messages x 1
2 DEL orders:intent_messages
2 SADD orders:intent_messages x
2 ZADD orders:intents 9e15 victim
2 ZADD orders:intents_due 9e15 victim
"""
RUN_AT_THE_SERVER = """
0 EVAL "return redis.call('LRANGE', KEYS[1], 0, -1)" 1 orders.close
0 EVAL_RO "return 1" 0
0 EVALSHA 0000000000000000000000000000000000000000 0
0 SCRIPT LOAD "return 1"
0 MEMORY PURGE
0 CLIENT TRACKING ON BCAST
0 CLIENT NO-EVICT ON
0 CLIENT REPLY OFF
0 CLIENT SETNAME worker
0 WAIT 1 0
"""
RUN_THE_SERVER = """
0 FCALL f 0
0 FUNCTION LOAD "#!lua name=x\\nserver.register_function('f', function() return 1 end)"
0 FUNCTION FLUSH
0 SCRIPT FLUSH
0 SCRIPT KILL
0 MODULE LOAD /x.so
0 CLIENT KILL TYPE normal
0 CLIENT PAUSE 10000
0 CLIENT LIST
0 CONFIG SET appendfsync no
0 CONFIG REWRITE
0 CONFIG RESETSTAT
0 SHUTDOWN NOSAVE
0 FLUSHALL
0 FLUSHDB
0 SWAPDB 0 2
0 DEBUG SLEEP 10
0 DEBUG RELOAD
0 SAVE
0 BGREWRITEAOF
0 REPLICAOF 127.0.0.1 1
0 FAILOVER
0 PSYNC ? -1
0 ACL SETUSER producer +@all
0 ACL GETUSER admin
0 ACL LOAD
0 ACL LOG RESET
0 LATENCY RESET
"""
REWRITE_HISTORY = """
2 XDEL orders:journal 0-1
2 XTRIM orders:journal MAXLEN 0
2 XSETID orders:journal 0-1
2 XGROUP DESTROY orders:journal g
2 DEL orders:journal
2 UNLINK orders:journal
2 EXPIRE orders:journal 0
2 SET orders:journal x
2 RENAME orders:journal orders:x
2 RENAMENX orders:journal orders:x
2 COPY orders:journal orders:x
2 RESTORE orders:journal 0 x REPLACE
2 EVAL "return redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)" 1 orders:journal
2 EVAL "return redis.call('XDEL', KEYS[1], '0-1')" 1 orders:journal
2 DEL orders:command:victim
2 UNLINK orders:command:victim
2 GETDEL orders:command:victim
2 SET orders:command:victim x
2 HDEL orders:command:victim state
2 RENAME orders:command:victim orders:command:other
2 RENAMENX orders:command:victim orders:command:other
2 COPY orders:command:victim orders:command:other
2 DUMP orders:command:victim
2 RESTORE orders:command:victim 0 x REPLACE
2 EVAL "return redis.call('DEL', KEYS[1])" 1 orders:command:victim
2 EVAL "return redis.call('RENAME', KEYS[1], KEYS[2])" 2 orders:command:victim orders:x
0 LSET orders.close 0 x
0 LTRIM orders.close 1 0
0 RENAME orders.close orders.withdraw
0 COPY orders.close orders.x
"""
SEND_OTHER_COMMANDS = """
0 LPUSH orders.withdraw x
0 LPUSH orders.withdraw~9 x
0 LPUSH orders.positions x
"""
READ_ENDS = """
0 HGETALL unacked
2 HGETALL orders:command:victim
2 XRANGE orders:journal - +
"""
SEND = """
0 LPUSH orders.close x
0 LPUSH orders.withdraw x
2 HSETNX orders:intent_messages new x
"""
SEND_AS_SOMEBODY = """
0 LPUSH orders.close x
0 LPUSH orders.withdraw x
0 LPUSH orders.withdraw~9 x
0 LRANGE orders.withdraw 0 -1
0 RPOP orders.withdraw
0 DEL orders.withdraw
0 HGETALL unacked
0 LPUSH orders.withdraw.dead x
0 PUBLISH /0.celery.pidbox forged
"""


def commands(*texts: str) -> list[tuple[int, Sequence[str]]]:
    """The database and the words of each command."""
    lines = [line for text in texts for line in text.strip().splitlines()]
    found = [shlex.split(line.replace("~", "\x06\x16")) for line in lines]
    return [(int(database), words) for database, *words in found]


OF_A_PRODUCER = commands(
    *(READ_A_QUEUE, LOOK_ROUND, SPOIL_A_QUEUE, REDIRECT_REPLIES, FORGE_AN_END, FORGE_A_BROADCAST, CHANGE_THE_LEDGER),
    *(RUN_AT_THE_SERVER, RUN_THE_SERVER),
)
OF_A_WORKER = commands(REWRITE_HISTORY, RUN_THE_SERVER)
REFUSED = {
    "producer": OF_A_PRODUCER,
    "closer": [*OF_A_PRODUCER, *commands(SEND_OTHER_COMMANDS)],
    "worker": OF_A_WORKER,
    "withdraw": OF_A_WORKER,
    "flower": commands(READ_A_QUEUE, READ_ENDS, SPOIL_A_QUEUE, FORGE_AN_END, CHANGE_THE_LEDGER, RUN_THE_SERVER, SEND),
    "archive": commands(
        *(READ_A_QUEUE, SPOIL_A_QUEUE, REDIRECT_REPLIES, FORGE_AN_END, FORGE_A_BROADCAST, CHANGE_THE_LEDGER),
        *(RUN_AT_THE_SERVER, RUN_THE_SERVER, SEND),
    ),
    "operator": commands(REDIRECT_REPLIES, REWRITE_HISTORY, RUN_THE_SERVER, SEND_AS_SOMEBODY),
    "health": commands(READ_A_QUEUE, LOOK_ROUND, SPOIL_A_QUEUE, FORGE_AN_END, CHANGE_THE_LEDGER, RUN_THE_SERVER, SEND),
}
"""By login."""
