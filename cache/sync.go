package cache

import (
	"sync/atomic"
	"time"
)

// Health is what a replica knows of the feed.
type Health uint8

// The zero Health is the one that denies.
const (
	NotReady Health = iota // has not yet read the feed to its end once
	Stale                  // the feed is silent for too long, or its records do not fit
	Fresh                  // everything appended up to max_age ago has been applied
)

func (h Health) String() string {
	return [...]string{"not_ready", "stale", "fresh"}[h]
}

// Sync tells how far a replica has followed the feed, and since when it has
// heard nothing. The feed's follower writes it, checks read it; zero is NotReady.
type Sync struct {
	number atomic.Uint64
	live   atomic.Pointer[time.Time] // when the last record was applied, nil before the first sync
	broken atomic.Pointer[string]
}

// Advance notes that everything up to number is applied. at carries the
// monotonic clock; it is when the record was applied here for a record that
// proves the feed live, and zero for one read again during replay.
func (s *Sync) Advance(number uint64, at time.Time) {
	s.number.Store(number)
	if !at.IsZero() {
		s.live.Store(&at)
	}
}

// Break notes that the feed can not be trusted, and why. It holds until Mend.
func (s *Sync) Break(why string) { s.broken.Store(&why) }

// Mend ends a Break after the whole feed was read and verified again.
func (s *Sync) Mend() { s.broken.Store(nil) }

// Number is that of the last record applied.
func (s *Sync) Number() uint64 { return s.number.Load() }

// Broken says why the feed can not be trusted, "" where it can.
func (s *Sync) Broken() string {
	if why := s.broken.Load(); why != nil {
		return *why
	}
	return ""
}

// Age is the time since the feed was last known to be live, by the monotonic
// clock of now; ok is false before the first sync.
func (s *Sync) Age(now time.Time) (age time.Duration, ok bool) {
	at := s.live.Load()
	if at == nil {
		return 0, false
	}
	return max(0, now.Sub(*at)), true
}

// Health judges the feed: a replica that can not know says so.
func (s *Sync) Health(now time.Time, maxAge time.Duration) Health {
	if s.broken.Load() != nil {
		return Stale
	}
	age, ok := s.Age(now)
	switch {
	case !ok:
		return NotReady
	case age > maxAge:
		return Stale
	}
	return Fresh
}
