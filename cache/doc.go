// Package cache knows the facts that a check asks for: which revocations are
// in force, how far this replica has followed the feed, what a revocation has
// done. It is pure: no I/O, no goroutine, no clock of its own. Its
// subpackages bring the facts in from outside:
//
//   - cache/feed   the durable, ordered log of revocations (NATS JetStream)
//   - cache/jose   compact JWS, JWK and key sets
//   - cache/jwks   the key sets of the issuers, refreshed in the background
//   - cache/memo   verified tokens (bigcache); a miss is always safe
//
// # What an event means
//
// A revocation names a session by one kind (its token, its sid, its subject,
// its client, ...) and denies every request whose credential carries the same
// digest. The kinds that name more than one login (subject, client, tenant,
// issuer) are dated: they deny the sessions that began at or before Before. A
// session begins at its token's auth_time, else at its iat, so that refreshing
// an old login does not help and a new login does. The other kinds name the
// thing itself and deny until they end.
//
// A revocation ends after Until, or when a later event lifts it by its Ref.
// Rounding always favours denial.
//
// # Who may write
//
// Only the feed's follower applies records and expires entries, one at a
// time, in the order of the feed. Everybody else reads, from any goroutine.
package cache
