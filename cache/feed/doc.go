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
// # Files
//
// With the embedded server, the directory holds jetstream/ (the server's own),
// lock (held while a process has it open), and by the caller's choice the head
// file and the key. The key and the head may not lie in jetstream/: whoever
// restores an old copy of that folder must be noticed.
package feed
