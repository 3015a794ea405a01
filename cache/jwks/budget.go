package jwks

import "time"

const (
	demandEvery = 5 * time.Second        // one refresh on demand in this time, in the long run
	demandBurst = 2                      // that many at once after a quiet while
	demandGap   = 500 * time.Millisecond // between any two
)

// budget rations refreshes on demand: a token bucket, kept as the time when it
// will be full again. The second token of the burst is for the refresh that
// came a moment too early, because a client may use a new key before the
// issuer's replicas all publish it. The zero value is full.
type budget struct {
	full time.Time
	last time.Time
}

// at is when the next refresh on demand may begin.
func (b *budget) at(now time.Time) time.Time {
	at := b.full.Add(-(demandBurst - 1) * demandEvery)
	if gap := b.last.Add(demandGap); gap.After(at) {
		at = gap
	}
	if at.Before(now) {
		return now
	}
	return at
}

// spend notes that a refresh begins. The debt is bounded: refreshes that would
// have happened anyway count too, and must not starve those on demand for long.
func (b *budget) spend(now time.Time) {
	b.last = now
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(demandEvery)
	if limit := now.Add(demandBurst * demandEvery); b.full.After(limit) {
		b.full = limit
	}
}

// refund gives a refresh back that found new keys: the issuer rotated them,
// which no sender of tokens can bring about.
func (b *budget) refund() { b.full = b.full.Add(-demandEvery) }
