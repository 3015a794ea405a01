// Package feed is the durable, ordered log of revocations: it appends to the
// log, follows it, verifies every record, and says how far this replica is.
//
// # The broker is transport, not truth
//
// A log (NATS JetStream, embedded or a cluster) gives bytes in an order. It
// can also lose one silently, bring old ones back, or start a new count. So
// each record carries the epoch of its feed, its own number, the hash of the
// record before it, and a MAC under the feed's key. A replica keeps its
// position (epoch, number, hash); a record that does not continue it is a
// break: Sync.Break, feed_stale, and the whole log is read and verified again,
// until it is whole. What was applied once stays applied meanwhile.
//
// A record's number is its sequence in the log, always.
//
// # Written once, by compare-and-swap
//
// Append follows the log, so it knows the tail, and stores its record only
// directly behind it. Of two replicas that write at once, one wins and the
// other tries again behind it. Append reports success only when the log has
// the record durably and this machine's head file (see Head) names it.
// Everything else is an error that wraps ErrNotDurable.
//
// # Alive
//
// Each replica appends a tick of its own when it has applied no record of its
// own for a fifth of MaxAge. A record of its own proves, when it is applied,
// that the replica can write, that it reads what is written, and that nothing
// stands before that record which it has not applied. Only such a record
// renews a replica's age, and only back to the moment it was sent: the records
// of others may be a late backlog, and keep nobody live.
//
// # Several replicas
//
// One replica's embedded server listens (EmbeddedConfig.Listen), the others
// join it (Cluster); or all of them use an ordinary NATS cluster. Whoever has
// the feed's key is admitted to an embedded server: an Ed25519 key is derived
// from it (HKDF), the server knows its public half, and every connection signs
// a challenge of its own, so that nothing on the wire can be used twice. To go
// to other machines that needs TLS: without it, a connection that was admitted
// can be read and taken over. Records can be forged in neither case.
//
// A replica may start before its broker. It is not ready then, and joins when
// the broker is there; when the broker goes, it becomes stale by its age, and
// follows on where it was. While there is no connection an append fails; it is
// never kept and sent later. An append that is not acknowledged has failed for
// its caller, whether or not it is stored.
//
// In a cluster of three or more servers the stream is made with three
// replicas, and an acknowledgement means that two of them have the record. How
// soon they sync it to their disks is set there (sync_interval: always), and
// max_payload must be 8 MB for the longest lists; longer records are refused.
//
// # Proofs
//
// Proofs carries what is not in the log: which single-use DPoP proofs were
// used. It spreads them, which costs a check nothing and leaves a gap of the
// time that a message takes, or of an outage: the other replicas hear them
// within a millisecond, mostly. Or it claims them: one call to the broker a
// proof, of which one in all replicas succeeds. Claims are messages of a stream
// of their own (HOLDFAST_REPLAY) that takes one a subject, forgets by age only,
// and refuses when it is full. It lies on the disk, so that a restart of the
// server opens no window. On a single server it is written some milliseconds
// after the answer, at most 8 by the server's own bound, for a tenth of the
// cost: a server that is killed can forget the proofs claimed in those, and a
// machine that loses its power those of the last two minutes, of which none
// older than the window could be used anyway.
//
// # Who is there
//
// Presence says once a second, and at once after a record with events was
// applied, who this replica is, which record it has applied, and what it has
// denied since; and goodbye when it drains. That goes over core NATS, with a
// MAC: it is not in the log and no check depends on it. From it every replica
// knows when all have applied a record (Reached), and what all together have
// denied by a revocation (Enforced). A replica that was not heard for ten
// seconds is not counted. A replica that restarts begins to count anew and gets
// from the others what it had told them before; what it denied in its last
// second is lost when it is killed, and everything when it was the only one.
//
// AppendUnless stores a record unless something is in the log already, exactly,
// over all replicas: it asks at the tail of the log, and the record goes there
// or nowhere. That is what an Idempotency-Key stands on.
//
// # Mending
//
// A broken feed mends itself when its log is whole again: an external broker
// that comes back with all its records is enough. With the embedded server,
// stop Holdfast, bring the folder jetstream back from a copy that is not older
// than the last revocation, and start again. Where there is none, what is lost
// is lost: move jetstream and the head file away together, start, and revoke
// again what must stay revoked. The files of a broken feed are worth keeping:
// the server itself cuts damaged blocks off when it starts.
//
// A stream of claims that vanished is not made anew by a process that has used
// it; restart the replicas when the longest proof has ended.
//
// # Snapshot
//
// Snapshot is a file with the index as it was after some record, under a MAC of
// its own. A feed that starts behind it (Config.Start) reads only what came
// later; that the log still has the snapshot's record is looked at when the file
// is read and again before the log is. What is wrong with it in any way, or was
// swept by a clock that was ahead of today's, is moved aside, and the whole log
// is read: the snapshot saves time, and nothing depends on it. The records in
// front of it are verified by and by, as those of a log that was read are.
//
// # Files
//
// With the embedded server, the directory holds jetstream/ (the server's own),
// lock (held while a process has it open), and by the caller's choice the head
// file and the key. The key and the head may not lie in jetstream/: whoever
// restores an old copy of that folder must be noticed.
package feed
