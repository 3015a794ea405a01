package extauthz

import (
	"sync/atomic"
	"time"
)

// Clock is a high-water mark of the wall clock: a clock that steps back
// revives nothing that has expired (security.md TI02). The zero Clock is ready.
type Clock struct{ high atomic.Int64 }

// grain keeps checks from writing the mark at every call: a step back by less
// than it goes unnoticed.
const grain = 10 * time.Millisecond

// Read turns a reading of the wall clock into the time that expiry is judged
// by: the reading, or the highest one seen where that is later.
func (c *Clock) Read(now time.Time) time.Time {
	n, high := now.UnixNano(), c.high.Load()
	switch {
	case n < high:
		return time.Unix(0, high)
	case n > high+int64(grain):
		c.raise(n)
	}
	return now
}

// Raise lifts the mark to a time that is known to have passed.
func (c *Clock) Raise(t time.Time) { c.raise(t.UnixNano()) }

func (c *Clock) raise(n int64) {
	for {
		high := c.high.Load()
		if n <= high || c.high.CompareAndSwap(high, n) {
			return
		}
	}
}

// Behind is how far a reading lies before the mark: above zero the wall clock
// has stepped back.
func (c *Clock) Behind(now time.Time) time.Duration {
	return max(0, time.Duration(c.high.Load()-now.UnixNano()))
}
